/* SPDX-License-Identifier: MIT */

/*
 * A queue between processes, as one would build it with Boost.Interprocess: objects in shared memory
 * behind a mutex and a condition.  A worker is killed while it holds the mutex.  The mutex is a robust
 * one: the next who locks it is told, puts the queue in order, and goes on.  (Boost's
 * interprocess_mutex would keep all of them waiting for ever.)  And when all have ended, however they
 * did, nothing of the region is left.
 */

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <new>
#include <pthread.h>
#include <sys/wait.h>
#include <system_error>

#include "iomem.hpp"

namespace {

/** A mutex that outlives those who hold it. */
class robust_mutex {
      public:
        robust_mutex() {
                pthread_mutexattr_t attributes;

                pthread_mutexattr_init(&attributes);
                pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
                pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
                pthread_mutex_init(&mutex_, &attributes);
                pthread_mutexattr_destroy(&attributes);
        }
        /** True if its last holder died with it: what it guards may be half done. */
        bool lock() {
                return taken(pthread_mutex_lock(&mutex_));
        }
        bool wait(pthread_cond_t &condition) {
                return taken(pthread_cond_wait(&condition, &mutex_));
        }
        void unlock() {
                pthread_mutex_unlock(&mutex_);
        }

      private:
        bool taken(int r) {
                if (r == EOWNERDEAD)
                        pthread_mutex_consistent(&mutex_);
                else if (r != 0)
                        throw std::system_error(r, std::generic_category());
                return r == EOWNERDEAD;
        }
        pthread_mutex_t mutex_;
};

/** Lies in the region.  A job is taken by moving `taken`, in one store: it is never half taken. */
struct queue {
        enum { capacity = 64 };
        robust_mutex mutex;
        pthread_cond_t changed;
        unsigned int put = 0, taken = 0, done = 0, sum = 0, deaths = 0;
        unsigned int jobs[capacity] = {};

        queue() {
                pthread_condattr_t attributes;

                pthread_condattr_init(&attributes);
                pthread_condattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
                pthread_cond_init(&changed, &attributes);
                pthread_condattr_destroy(&attributes);
        }
};

void work(queue &jobs, bool dies) {
        for (;;) {
                jobs.deaths += jobs.mutex.lock();
                while (jobs.taken == jobs.put)
                        jobs.deaths += jobs.mutex.wait(jobs.changed);
                if (dies)
                        std::raise(SIGKILL);
                unsigned int job = jobs.jobs[jobs.taken++];
                jobs.sum += job;
                jobs.done++;
                pthread_cond_broadcast(&jobs.changed);
                jobs.mutex.unlock();
        }
}

pid_t start(queue &jobs, bool dies) {
        pid_t pid = fork();

        if (pid == 0) {
                work(jobs, dies);
                _exit(1);
        }
        return pid;
}

} // namespace

int main() try {
        iomem::connection mem;
        auto region = mem.create("example-queue", sizeof(queue), iomem::fixed | iomem::ephemeral);
        auto &jobs = *new (region.data()) queue;

        jobs.mutex.lock();
        for (unsigned int i = 1; i <= queue::capacity; i++)
                jobs.jobs[jobs.put++] = i;
        jobs.mutex.unlock();

        pid_t killed = start(jobs, true);
        waitpid(killed, nullptr, 0);
        pid_t workers[2] = {start(jobs, false), start(jobs, false)};

        jobs.deaths += jobs.mutex.lock();
        while (jobs.done < queue::capacity)
                jobs.deaths += jobs.mutex.wait(jobs.changed);
        std::printf("%u jobs done, sum %u, deaths with the lock: %u\n", jobs.done, jobs.sum,
                    jobs.deaths);
        jobs.mutex.unlock();
        for (pid_t pid : workers) {
                kill(pid, SIGKILL);
                waitpid(pid, nullptr, 0);
        }
        return 0;
} catch (const std::exception &error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 1;
}
