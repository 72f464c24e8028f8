// SPDX-License-Identifier: MIT

package iomem;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertFalse;
import static org.junit.Assert.assertNotNull;
import static org.junit.Assert.assertNull;
import static org.junit.Assert.assertThrows;
import static org.junit.Assert.assertTrue;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.ByteBuffer;
import java.nio.MappedByteBuffer;
import java.nio.ReadOnlyBufferException;
import java.nio.channels.NonWritableChannelException;
import java.nio.charset.StandardCharsets;
import java.nio.file.FileAlreadyExistsException;
import java.nio.file.FileSystemException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.stream.Collectors;
import org.junit.After;
import org.junit.Test;

/** On the mount that $IOMEMFS names, which must be empty, and is again afterwards. */
public class RegionTest {
    private static final Duration LIMIT = Duration.ofSeconds(30);

    private interface Condition {
        boolean holds() throws Exception;
    }

    private static void eventually(Condition condition) throws Exception {
        Instant end = Instant.now().plus(LIMIT);
        while (!condition.holds()) {
            assertTrue("it did not come to pass", Instant.now().isBefore(end));
            Thread.sleep(5);
        }
    }

    private static List<String> names() throws IOException {
        return Region.list().stream().map(Region.Info::name).sorted().collect(Collectors.toList());
    }

    private static Region.Info stat(String name) throws IOException {
        return Region.list().stream().filter(info -> info.name().equals(name)).findAny().get();
    }

    private static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    private static void make(String name, long size, String... options) throws IOException {
        Region.create(name, size, options).close();
    }

    private static <T extends FileSystemException> void fails(
            Class<T> kind, String words, org.junit.function.ThrowingRunnable call) {
        T error = assertThrows(kind, call);
        assertTrue(error.getMessage(), error.getMessage().contains(words));
    }

    @After
    public void leaveNothing() throws Exception {
        for (Region.Info info : Region.list()) {
            if (!info.flags().contains("ephemeral")) {
                Region.remove(info.name());
            }
        }
        eventually(
                () -> {
                    System.gc();
                    return names().isEmpty();
                });
        try (var entries = Files.list(Region.mountPoint())) {
            for (Path entry : entries.collect(Collectors.toList())) {
                Files.delete(entry);
            }
        }
    }

    @Test
    public void madeOpenedMapped() throws Exception {
        MappedByteBuffer memory;
        try (Region made = Region.create("frames", 10000, "fixed", "mode=0640")) {
            memory = made.map();
            assertTrue(made.isWritable());
        }
        memory.put(9996, bytes("seen"));
        assertEquals(0, (int) Region.INT.getAndAdd(memory, 0, 1));
        try (Region opened = Region.openReadOnly("frames")) {
            MappedByteBuffer seen = opened.map();
            byte[] text = new byte[4];
            seen.get(9996, text);
            assertEquals("seen", new String(text, StandardCharsets.UTF_8));
            assertEquals(1, (int) Region.INT.getVolatile(seen, 0));
            assertEquals(1, seen.getInt(0));
            assertEquals(10000, opened.size());
            assertEquals("frames", opened.name());
            assertThrows(ReadOnlyBufferException.class, () -> seen.put(0, (byte) 1));
            assertThrows(NonWritableChannelException.class, () -> opened.channel().write(ByteBuffer.allocate(1)));
            assertEquals(16, opened.map(8192, 16).capacity());
            assertThrows(IllegalArgumentException.class, () -> opened.map(8192, 1809));
            assertThrows(IllegalArgumentException.class, () -> opened.map(-1, 1));
        }
        Region.Info info = stat("frames");
        assertEquals(10000, info.size());
        assertEquals(0640, info.mode());
        assertEquals(List.of("fixed"), info.flags());
        assertEquals(List.of("shrink", "grow"), info.seals());
        assertTrue(Duration.between(info.created(), Instant.now()).abs().toMinutes() < 5);
        fails(FileSystemException.class, "fixed", () -> Region.resize("frames", 1));
    }

    @Test
    public void sizeZero() throws Exception {
        try (Region region = Region.create("a", 0)) {
            assertEquals(0, region.map().capacity());
            Region.resize("a", 8192);
            assertEquals(8192, region.map().capacity());
        }
    }

    @Test
    public void changesAndErrors() throws Exception {
        make("a", 4096);
        Region.resize("a", 8192);
        Region.seal("a", "shrink", "write");
        assertEquals(List.of("shrink", "write"), stat("a").seals());
        fails(FileSystemException.class, "sealed", () -> Region.resize("a", 1));
        fails(FileSystemException.class, "seals are", () -> Region.seal("a", "thaw"));
        fails(FileAlreadyExistsException.class, "exists already", () -> make("a", 1));
        fails(FileSystemException.class, "mode=", () -> make("b", 1, "mode=07777"));
        fails(FileSystemException.class, "owner=nobody", () -> make("b", 1, "owner=nobody"));
        make("b", 1, "owner=process");
        assertEquals(List.of("owner=process"), stat("b").flags());
        Region.remove("b");
        fails(FileSystemException.class, "size=", () -> make("b", 2L << 30));
        assertThrows(IllegalArgumentException.class, () -> make("b", -1));
        assertThrows(IllegalArgumentException.class, () -> make("b", 1, "fixed\nc 1"));
        Region.remove("a");
        fails(NoSuchFileException.class, "a", () -> Region.remove("a"));
        fails(NoSuchFileException.class, "a", () -> Region.open("a"));
        make("b", 65536, "populate");
        assertEquals(65536, stat("b").allocated());
        assertEquals(List.of("b"), names());
    }

    @Test
    public void strangeNames() throws Exception {
        List<String> strange =
                new ArrayList<>(List.of("with space", "tab\tnew\nline", "back\\slash", "h\u00e4\u00df", "a: b", "-"));
        for (String name : strange) {
            make(name, 1);
        }
        Collections.sort(strange);
        assertEquals(strange, names());
        for (String name : List.of("", "/a", "a/", "a//b", "..", "a/../b", ".ctl", ".ctl/create")) {
            fails(FileSystemException.class, "not a path", () -> make(name, 1));
            fails(FileSystemException.class, "not a path", () -> Region.open(name));
        }
    }

    @Test
    public void directories() throws Exception {
        Files.createDirectory(Region.mountPoint().resolve("d"));
        make("d/a", 1);
        make("b", 1);
        assertEquals(List.of("b", "d/a"), names());
        assertEquals("a", Region.list("d").get(0).name());
        fails(FileSystemException.class, "is a directory", () -> Region.waitFor("d", LIMIT));
    }

    @Test
    public void waiting() throws Exception {
        assertThrows(TimeoutException.class, () -> Region.waitFor("late", Duration.ofMillis(20)));
        CompletableFuture<String> waiter =
                CompletableFuture.supplyAsync(
                        () -> {
                            try {
                                Region.waitFor("late", null);
                                try (Region late = Region.open("late")) {
                                    byte[] text = new byte[4];
                                    late.map().get(0, text);
                                    return new String(text, StandardCharsets.UTF_8);
                                }
                            } catch (Exception error) {
                                throw new IllegalStateException(error);
                            }
                        });
        try (Region early = Region.create("early", 4096)) {
            early.map().put(0, bytes("here"));
        }
        Path mount = Region.mountPoint();
        Files.move(mount.resolve("early"), mount.resolve("late"));
        assertEquals("here", waiter.get(LIMIT.toSeconds(), TimeUnit.SECONDS));
        Region.waitFor("late", Duration.ofSeconds(Long.MAX_VALUE));
    }

    @SuppressWarnings("try") // close() is what is tested
    @Test(timeout = 60000)
    public void events() throws Exception {
        try (Region.Events events = Region.events()) {
            make("a b", 4096);
            Region.Event first = events.next();
            assertEquals("create", first.kind());
            assertEquals("a b", first.name());
            assertEquals(Long.valueOf(4096), first.details().get("size"));
            Region.remove("a b");
            Region.Event event = first;
            while (!event.kind().equals("remove")) {
                event = events.next();
                assertNotNull(event);
            }
            // Another thread ends the waiting.
            CompletableFuture<Region.Event> waiter =
                    CompletableFuture.supplyAsync(
                            () -> {
                                try {
                                    return events.next();
                                } catch (IOException error) {
                                    throw new IllegalStateException(error);
                                }
                            });
            events.close();
            assertNull(waiter.get());
        }
        fails(NoSuchFileException.class, "none", () -> Region.events("none"));
    }

    /** The process that the next test kills. */
    public static class Holder {
        public static void main(String[] args) throws Exception {
            List<MappedByteBuffer> kept = new ArrayList<>();
            for (String name : List.of("alone", "shared")) {
                try (Region region = Region.create(name, 4096, "ephemeral")) {
                    kept.add(region.map());
                }
            }
            kept.get(1).put(0, (byte) 42);
            System.out.println("ready");
            Thread.sleep(Long.MAX_VALUE);
            System.out.println(kept);
        }
    }

    @Test
    public void killedHolder() throws Exception {
        Process child =
                new ProcessBuilder(
                                Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                                "-cp",
                                System.getProperty("java.class.path"),
                                Holder.class.getName())
                        .redirectError(ProcessBuilder.Redirect.INHERIT)
                        .start();
        var output = new BufferedReader(new InputStreamReader(child.getInputStream()));
        assertEquals("ready", output.readLine());
        MappedByteBuffer shared;
        try (Region region = Region.open("shared")) {
            shared = region.map();
        }
        child.destroyForcibly().waitFor();
        assertFalse(child.isAlive());
        eventually(() -> names().equals(List.of("shared")));
        assertEquals(42, shared.get(0));
        assertEquals(List.of("shared"), names());
    }
}
