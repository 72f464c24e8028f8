/* SPDX-License-Identifier: MIT */
#include "progress.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>
#include "base/size.h"
#include "cli.h"

enum {
        FIRST_MS = 300,    /* a shorter population needs no bar */
        PAUSE_MS = 100,    /* between looks, at least */
        PAUSE_FACTOR = 20, /* times the duration of a look, because it lists all regions */
        COLUMNS_MAX = 512,
        COLUMNS_DEFAULT = 80,
        BAR_BYTES = COLUMNS_MAX + 3, /* of a line, with a carriage return at both ends */
        BAR_MAX = 40,
        WRITING_TRIES = 100, /* milliseconds */
};

static struct {
        pthread_t thread;
        pthread_t signal_thread;
        sigset_t signals; /* that end the program; the signal thread waits for them */
        bool catching;    /* there is a signal thread */
        pthread_mutex_t lock;
        pthread_cond_t wake;
        bool running;
        bool ending; /* under the lock */
        const char *argument;

        /* Held while writing to the terminal.  A signal that ends the program keeps it. */
        atomic_flag writing;
        char blank[BAR_BYTES]; /* blanks that overwrite the bar */
        size_t blank_length;   /* 0: there is no bar */
} progress = {.lock = PTHREAD_MUTEX_INITIALIZER, .writing = ATOMIC_FLAG_INIT};

/* The terminal */

static void terminal_write(const char *text, size_t length) {
        if (write(STDERR_FILENO, text, length) < 0)
                return; /* the terminal is gone */
}

/* Columns that can be written without a line break. */
static int terminal_columns(void) {
        struct winsize size;
        int columns = COLUMNS_DEFAULT;

        if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
                columns = size.ws_col;
        return columns > COLUMNS_MAX ? COLUMNS_MAX - 1 : columns - 1;
}

/* `populating [####......]  37%  1.5G of 4G`, or as much of it as there is room for. */
static int bar_format(char *buffer, int columns, uint64_t done, uint64_t size) {
        char cells[BAR_MAX + 1], now[SIZE_TEXT_MAX], all[SIZE_TEXT_MAX], text[COLUMNS_MAX];
        int percent = size ? (int)((double)done * 100 / (double)size) : 0, room;

        size_format(now, done);
        size_format(all, size);
        room = columns -
               snprintf(text, sizeof(text), "populating [] %3d%%  %s of %s", percent, now, all);
        if (room > BAR_MAX)
                room = BAR_MAX;
        if (room < 4) {
                snprintf(text, sizeof(text), "%3d%%", percent);
        } else {
                memset(cells, '.', (size_t)room);
                memset(cells, '#', (size_t)(room * percent / 100));
                cells[room] = '\0';
                snprintf(text, sizeof(text), "populating [%s] %3d%%  %s of %s", cells, percent, now,
                         all);
        }
        /* Return the cursor to the start, so that the ^C of an interrupted command stays on this
         * line. */
        return snprintf(buffer, BAR_BYTES, "\r%-*.*s\r", columns, columns, text);
}

static void bar_draw(uint64_t done, uint64_t size) {
        int columns = terminal_columns(), length;
        char bar[BAR_BYTES];

        if (columns < 4)
                return;
        length = bar_format(bar, columns, done < size ? done : size, size);
        while (atomic_flag_test_and_set(&progress.writing))
                ;
        memset(progress.blank, ' ', sizeof(progress.blank));
        progress.blank[0] = progress.blank[columns + 1] = '\r';
        progress.blank_length = (size_t)columns + 2;
        terminal_write(bar, (size_t)length);
        atomic_flag_clear(&progress.writing);
}

static void bar_erase(void) {
        if (progress.blank_length > 0)
                terminal_write(progress.blank, progress.blank_length);
}

/* Erases the bar, and ends the program.  Nothing is drawn afterwards. */
static void end_by_signal(int number) {
        bool writing = true;

        /* If the terminal is stopped, the other thread may be waiting for it; so give up after a
         * while. */
        for (int tries = 0; writing && tries < WRITING_TRIES; tries++) {
                writing = atomic_flag_test_and_set(&progress.writing);
                if (writing)
                        poll(NULL, 0, 1);
        }
        if (!writing)
                bar_erase();
        pthread_sigmask(SIG_UNBLOCK, &progress.signals, NULL);
        raise(number); /* the default action ends the program */
}

/* A thread of its own, because in the main thread the request for the region is not interrupted by a
 * signal that the program handles. */
static void *signals_main(void *userdata) {
        int number;

        (void)userdata;
        if (sigwait(&progress.signals, &number) == 0)
                end_by_signal(number);
        return NULL;
}

/* Called while all signals are blocked.  Signals that are ignored stay ignored. */
static void catch_signals(void) {
        static const int numbers[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
        struct sigaction action;

        sigemptyset(&progress.signals);
        for (size_t i = 0; i < sizeof(numbers) / sizeof(*numbers); i++)
                if (sigaction(numbers[i], NULL, &action) == 0 && action.sa_handler == SIG_DFL)
                        sigaddset(&progress.signals, numbers[i]);
        progress.catching = pthread_create(&progress.signal_thread, NULL, signals_main, NULL) == 0;
}

static void release_signals(void) {
        if (!progress.catching)
                return;
        pthread_cancel(progress.signal_thread);
        pthread_join(progress.signal_thread, NULL);
        progress.catching = false;
        pthread_sigmask(SIG_UNBLOCK, &progress.signals, NULL);
}

/* Asking the daemon */

struct search {
        const char *name;
        bool found;
        uint64_t done, size;
};

static int search_visit(void *userdata, const char *name, const struct iomem_stat *region) {
        struct search *search = userdata;
        bool ours = region->creator_pid == getpid();

        if (!(region->flags & IOMEM_POPULATING) || strcmp(name, search->name) != 0)
                return 0;
        /* If this process is in another container, the daemon knows it by another pid. */
        if (ours || !search->found) {
                search->found = true;
                search->done = region->allocated;
                search->size = region->size;
        }
        return ours;
}

static void look(struct iomem_connection *connection, const char *name) {
        struct search search = {.name = name};

        if (iomem_list(connection, NULL, IOMEM_LIST_POPULATING, search_visit, &search) >= 0 &&
            search.found)
                bar_draw(search.done, search.size);
}

static uint64_t now_ms(void) {
        struct timespec now;

        clock_gettime(CLOCK_MONOTONIC, &now);
        return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* True: the time has passed.  False: the region is created. */
static bool progress_pause(uint64_t ms) {
        uint64_t end = now_ms() + ms;
        struct timespec until = {(time_t)(end / 1000), (long)(end % 1000) * 1000000};
        bool ending;
        int r = 0;

        pthread_mutex_lock(&progress.lock);
        while (!progress.ending && r == 0)
                r = pthread_cond_timedwait(&progress.wake, &progress.lock, &until);
        ending = progress.ending;
        pthread_mutex_unlock(&progress.lock);
        return !ending;
}

static void *progress_main(void *userdata) {
        struct iomem_connection *connection = NULL;
        uint64_t pause = FIRST_MS;
        const char *name;

        (void)userdata;
        while (progress_pause(pause)) {
                uint64_t start = now_ms();

                if (!connection && cli_try_connect(&connection, progress.argument, &name) < 0)
                        break;
                look(connection, name);
                pause = (now_ms() - start) * PAUSE_FACTOR;
                if (pause < PAUSE_MS)
                        pause = PAUSE_MS;
        }
        iomem_disconnect(connection);
        return NULL;
}

void progress_begin(const char *argument) {
        pthread_condattr_t attributes;
        sigset_t all, before;

        if (!isatty(STDERR_FILENO))
                return;
        progress.argument = argument;
        pthread_condattr_init(&attributes);
        pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
        pthread_cond_init(&progress.wake, &attributes);
        pthread_condattr_destroy(&attributes);
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        progress.running = pthread_create(&progress.thread, NULL, progress_main, NULL) == 0;
        catch_signals();
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        if (progress.catching)
                pthread_sigmask(SIG_BLOCK, &progress.signals, NULL);
}

void progress_end(void) {
        release_signals();
        if (!progress.running)
                return;
        pthread_mutex_lock(&progress.lock);
        progress.ending = true;
        pthread_cond_signal(&progress.wake);
        pthread_mutex_unlock(&progress.lock);
        pthread_join(progress.thread, NULL);
        progress.running = false;
        bar_erase();
}
