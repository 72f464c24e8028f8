# SPDX-License-Identifier: MIT
"""Programs that call shm_open(3), with the owner that docs/recipes.md gives them: in normal work nothing
goes early, and when their container or service is killed nothing stays.

Each runs in a mount namespace where a directory of the mount, with the default `owner=…`, is on /dev/shm.
"""

import contextlib
import glob
import os
import pathlib
import shutil
import signal
import subprocess
import textwrap

import pytest

from support import run, wait_for
from test_owners import Group

pytestmark = pytest.mark.timeout(180)

DEBIAN_PYTHON = "/usr/bin/python3"
ENTER = 'mount --bind "$0" /dev/shm && exec "$@"'


class Shm:
    """A directory with a default owner, and programs that have it on /dev/shm."""

    def __init__(self, mount, owner, scratch):
        self.path = mount / "shm"
        self.path.mkdir()
        self.path.chmod(0o1777)
        (self.path / ".ctl/default").write_text(f"owner={owner}\n")
        self.scratch = scratch

    def names(self):
        return set(os.listdir(self.path))

    def script(self, text):
        path = self.scratch / f"script-{len(os.listdir(self.scratch))}.py"
        path.write_text(textwrap.dedent(text))
        return [DEBIAN_PYTHON, path]

    def argv(self, argv, container=False):
        words = ["unshare", "--mount", "--propagation", "private"]
        if container:
            words += ["--pid", "--fork", "--mount-proc", "--kill-child"]
        return [str(word) for word in words + ["sh", "-c", ENTER, self.path, *argv]]

    def run(self, argv, **options):
        """Runs a program to its end; its output."""
        result = run(self.argv(argv), **options)
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    @contextlib.contextmanager
    def program(self, argv, container=False, **options):
        """A program that says a line when it is ready, and is killed in the end, with its children."""
        options.setdefault("stdin", subprocess.DEVNULL)
        with subprocess.Popen(
            self.argv(argv, container), stdout=subprocess.PIPE, text=True, start_new_session=True,
            **options,
        ) as process:  # fmt: skip
            try:
                process.ready = process.stdout.readline()
                yield process
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)

    def wait_empty(self):
        wait_for(lambda: not self.names(), "the end of all segments")


@pytest.fixture(name="shm")
def shm_fixture(mount, request, tmp_path):
    return Shm(mount, request.param, tmp_path)


def owned_by(owner):
    return pytest.mark.parametrize("shm", [owner], indirect=True)


def compiled(tmp_path, compiler, source, *options):
    """The program, or a skip where there is no compiler for it."""
    if not shutil.which(compiler):
        pytest.skip(f"there is no {compiler}")
    text = tmp_path / ("source.cpp" if compiler == "c++" else "source.c")
    text.write_text(textwrap.dedent(source))
    run([compiler, "-o", tmp_path / "program", text, *options], check=True)
    return tmp_path / "program"


# Python


SHARED_MEMORY = """
    import sys, time
    from multiprocessing import resource_tracker
    from multiprocessing.shared_memory import SharedMemory
    memory = SharedMemory("frames", create=True, size=100000)
    memory.buf[:5] = b"hello"
    memory.close()
    print("made", flush=True)
    time.sleep(100)
"""
READ = """
    from multiprocessing import resource_tracker
    from multiprocessing.shared_memory import SharedMemory
    memory = SharedMemory("frames")
    resource_tracker.unregister("/frames", "shared_memory")  # Python before 3.13 would remove it
    print(bytes(memory.buf[:5]).decode())
    memory.close()
"""


@owned_by("process")
def test_python_shared_memory(shm):
    with shm.program(shm.script(SHARED_MEMORY)) as maker:
        assert maker.ready == "made\n"
        for _ in range(3):
            assert shm.run(shm.script(READ)) == "hello\n"
        assert shm.names() == {"frames"}
    shm.wait_empty()


@owned_by("process")
def test_python_shared_memory_manager(shm):
    """The manager's own process makes the segments; what its clients do takes nothing away."""
    with shm.program(shm.script("""
        import multiprocessing, time
        from multiprocessing.managers import SharedMemoryManager

        def add(memory):
            memory.buf[0] += 1

        if __name__ == "__main__":
            with SharedMemoryManager() as manager:
                memory = manager.SharedMemory(100000)
                items = manager.ShareableList(["a", 1.5, None])
                for _ in range(3):
                    worker = multiprocessing.Process(target=add, args=(memory,))
                    worker.start()
                    worker.join()
                print(memory.buf[0], list(items), flush=True)
                time.sleep(100)
    """)) as maker:  # fmt: skip
        assert maker.ready == "3 ['a', 1.5, None]\n"
        assert len(shm.names()) == 2
    shm.wait_empty()


@owned_by("process")
def test_joblib(shm):
    """Its folder stays: folders have no owner."""
    if run([DEBIAN_PYTHON, "-c", "import joblib, numpy"]).returncode != 0:
        pytest.skip("there is no joblib")
    with shm.program(shm.script("""
        import time
        import joblib, numpy

        def total(array, i):
            return float(array[i].sum())

        if __name__ == "__main__":
            array = numpy.ones((8, 1 << 17))
            with joblib.Parallel(n_jobs=2, max_nbytes=1000) as parallel:
                for _ in range(2):
                    sums = parallel(joblib.delayed(total)(array, i) for i in range(8))
                print(sum(sums) == array.sum(), flush=True)
                time.sleep(100)
    """), container=True) as maker:  # fmt: skip
        assert maker.ready == "True\n"
        assert glob.glob(f"{shm.path}/joblib_*/*")
    wait_for(lambda: not glob.glob(f"{shm.path}/joblib_*/*"), "the end of its files")


# C and C++


@owned_by("process")
def test_boost_interprocess(shm, tmp_path):
    if not os.path.exists("/usr/include/boost/interprocess/managed_shared_memory.hpp"):
        pytest.skip("there is no Boost.Interprocess")
    program = compiled(tmp_path, "c++", """
        #include <boost/interprocess/managed_shared_memory.hpp>
        #include <boost/interprocess/sync/named_mutex.hpp>
        #include <iostream>
        #include <unistd.h>
        using namespace boost::interprocess;

        int main(int argc, char **) {
                named_mutex mutex(open_or_create, "mutex");
                scoped_lock<named_mutex> lock(mutex);
                if (argc == 1) {
                        {
                                managed_shared_memory memory(create_only, "frames", 100000);
                                memory.construct<int>("answer")(42);
                        }
                        lock.unlock();
                        std::cout << "made" << std::endl;
                        pause();
                }
                managed_shared_memory memory(open_only, "frames");
                std::cout << *memory.find<int>("answer").first << std::endl;
        }
    """, "-O0", "-pthread")  # fmt: skip
    with shm.program([program]) as maker:
        assert maker.ready == "made\n"
        for _ in range(3):
            assert shm.run([program, "read"]) == "42\n"
        assert {"frames", "mutex"} <= {name.removeprefix("sem.") for name in shm.names()}
    shm.wait_empty()


@owned_by("process")
def test_sem_open(shm, tmp_path):
    program = compiled(tmp_path, "cc", """
        #include <fcntl.h>
        #include <semaphore.h>
        #include <stdio.h>
        #include <unistd.h>

        int main(int argc, char **argv) {
                sem_t *semaphore = sem_open("/gate", argc == 1 ? O_CREAT | O_EXCL : 0, 0600, 0);
                (void)argv;
                if (semaphore == SEM_FAILED || (argc > 1 && sem_post(semaphore) != 0)) {
                        perror("sem_open");
                        return 1;
                }
                if (argc == 1) {
                        sem_close(semaphore);
                        puts("made");
                        fflush(stdout);
                        for (int i = 0; i < 3; i++) {
                                semaphore = sem_open("/gate", 0);
                                sem_wait(semaphore);
                                sem_close(semaphore);
                        }
                        puts("three");
                        fflush(stdout);
                        pause();
                }
                return 0;
        }
    """, "-pthread")  # fmt: skip
    with shm.program([program]) as maker:
        assert maker.ready == "made\n"
        for _ in range(3):
            shm.run([program, "post"])
        assert maker.stdout.readline() == "three\n"
        assert shm.names() == {"sem.gate"}
    shm.wait_empty()


# PostgreSQL


class Postgres:
    """A cluster whose dynamic shared memory is made by shm_open(3)."""

    def __init__(self, shm, folder):
        found = sorted(glob.glob("/usr/lib/postgresql/*/bin"))
        if not found:
            pytest.skip("there is no PostgreSQL")
        self.bin = pathlib.Path(found[-1])
        self.shm = shm
        self.folder = folder
        shutil.chown(folder, "postgres", "postgres")
        self.as_postgres([self.bin / "initdb", "-D", folder / "data", "-A", "trust", "-N"])
        with open(folder / "data/postgresql.conf", "a", encoding="ascii") as file:
            file.write(
                f"listen_addresses = ''\nunix_socket_directories = '{folder}'\n"
                "dynamic_shared_memory_type = posix\nmin_parallel_table_scan_size = 0\n"
                "parallel_setup_cost = 0\nparallel_tuple_cost = 0\nfsync = off\n"
                "max_parallel_workers_per_gather = 4\nmin_dynamic_shared_memory = 0\n"
            )

    def as_postgres(self, argv):
        return run(["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", *argv],
                   check=True, cwd=self.folder)  # fmt: skip

    def command(self):
        return ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups",
                self.bin / "postgres", "-D", self.folder / "data"]  # fmt: skip

    def query(self, text):
        return self.as_postgres(["psql", "-h", self.folder, "-d", "postgres", "-Atc", text]).stdout

    def work(self):
        """Backends that come and go, with parallel queries; statistics that outlive the backends."""
        wait_for(lambda: run(["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups",
                              "psql", "-h", self.folder, "-d", "postgres", "-Atc", "select 1"],
                             cwd=self.folder).returncode == 0, "PostgreSQL")  # fmt: skip
        self.query("create table t as select i from generate_series(1, 200000) i; analyze t")
        for _ in range(5):
            plan = self.query("explain (analyze) select sum(i::bigint) from t")
            assert "Workers Launched: " in plan and "Workers Launched: 0" not in plan
            assert self.query("select sum(i::bigint) from t") == "20000100000\n"
        assert self.query("select count(*) from pg_stat_user_tables where n_live_tup > 0") == "1\n"


@pytest.fixture
def postgres_folder(tmp_path_factory):
    folder = pathlib.Path(run(["mktemp", "-d", "/tmp/iomemfs-postgres-XXXXXX"], check=True).stdout.strip())
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@owned_by("container")
def test_postgresql_in_a_container(shm, postgres_folder):
    postgres = Postgres(shm, postgres_folder)
    with shm.program(postgres.command(), container=True, stderr=subprocess.STDOUT):
        postgres.work()
        assert any(name.startswith("PostgreSQL.") for name in shm.names())
    shm.wait_empty()


@pytest.mark.parametrize("hierarchy", ["unified", "systemd"])
@owned_by("service")
def test_postgresql_as_a_service(shm, postgres_folder, hierarchy):
    postgres = Postgres(shm, postgres_folder)
    with Group(hierarchy, "iomemfs-postgres") as group:
        with shm.program(postgres.command(), stderr=subprocess.STDOUT, preexec_fn=group.join):
            postgres.work()
            assert any(name.startswith("PostgreSQL.") for name in shm.names())
            group.kill()
        shm.wait_empty()


# Others


@owned_by("process")
def test_open_mpi(shm, tmp_path):
    """Each rank makes a segment that the others map."""
    if not shutil.which("mpirun"):
        pytest.skip("there is no Open MPI")
    program = compiled(tmp_path, "mpicc", """
        #include <mpi.h>
        #include <stdio.h>
        #include <stdlib.h>
        #include <unistd.h>

        int main(int argc, char **argv) {
                enum { N = 1 << 20 };
                int *numbers = calloc(N, sizeof(int)), rank, sum = 0;

                MPI_Init(&argc, &argv);
                MPI_Comm_rank(MPI_COMM_WORLD, &rank);
                for (int i = 0; i < 10; i++) {
                        MPI_Bcast(numbers, N, MPI_INT, i % 2, MPI_COMM_WORLD);
                        MPI_Allreduce(&rank, &sum, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
                }
                if (rank == 0) {
                        printf("%d\\n", sum);
                        fflush(stdout);
                }
                sleep(100);
        }
    """)  # fmt: skip
    argv = [
        "mpirun", "--allow-run-as-root", "--oversubscribe", "-np", "2", "--mca", "btl", "self,vader",
        "--mca", "btl_vader_backing_directory", "/dev/shm", "--mca", "plm_rsh_agent", "/bin/false",
        program,
    ]  # fmt: skip
    with shm.program(argv, container=True, stderr=subprocess.STDOUT) as ranks:
        assert ranks.ready == "1\n"
        assert shm.names()
    shm.wait_empty()


@owned_by("process")
def test_jack(shm):
    if not shutil.which("jackd") or not shutil.which("jack_lsp"):
        pytest.skip("there is no JACK")
    command = "jackd --no-realtime -d dummy & jack_wait -w -t 20 >&2; jack_lsp; jack_lsp; echo end; wait"
    with shm.program(["sh", "-c", command], container=True, stderr=subprocess.DEVNULL) as server:
        lines = []
        while server.ready != "end\n" and server.ready:
            lines.append(server.ready)
            server.ready = server.stdout.readline()
        assert lines.count("system:capture_1\n") == 2, lines
        assert any(name.startswith("jack") for name in shm.names())
    wait_for(lambda: not [n for n in os.listdir(shm.path) if (shm.path / n).is_file()], "the end of all")


@owned_by("container")
@pytest.mark.parametrize("strategy", ["file_system", "file_descriptor"])
def test_pytorch(shm, strategy):
    """Workers that make tensors have ended before these are read."""
    if run([DEBIAN_PYTHON, "-c", "import torch"], timeout=120).returncode != 0:
        pytest.skip("there is no PyTorch")
    with shm.program(shm.script(f"""
        import time
        import torch, torch.multiprocessing as processes

        def make(queue, ended):
            queue.put(torch.ones(1000, 100))
            ended.wait()

        if __name__ == "__main__":
            processes.set_sharing_strategy({strategy!r})
            kept = []
            for _ in range(2):
                queue, ended = processes.Queue(), processes.Event()
                worker = processes.Process(target=make, args=(queue, ended))
                worker.start()
                kept.append(queue.get())
                ended.set()
                worker.join()
            print(sum(float(tensor.sum()) for tensor in kept), flush=True)
            time.sleep(100)
    """), container=True) as program:  # fmt: skip
        assert program.ready == "200000.0\n"
    shm.wait_empty()
