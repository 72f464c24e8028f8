// SPDX-License-Identifier: MIT

package iomem;

import java.io.IOException;
import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.MappedByteBuffer;
import java.nio.channels.ClosedChannelException;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.FileAlreadyExistsException;
import java.nio.file.FileSystemException;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Queue;
import java.util.concurrent.TimeoutException;

/**
 * A region of an iomemfs: memory that programs share by name, whatever their languages.
 *
 * <pre>{@code
 * // one program
 * try (Region frames = Region.create("frames", 64 << 20, "fixed")) {
 *     MappedByteBuffer memory = frames.map();
 *     memory.put(64, "hello".getBytes(StandardCharsets.UTF_8));
 *     Region.INT.setVolatile(memory, 0, 1);
 * }
 *
 * // any other; this one waits until it is there
 * Region.waitFor("frames", Duration.ofSeconds(5));
 * try (Region frames = Region.openReadOnly("frames")) {
 *     MappedByteBuffer memory = frames.map();
 * }
 * }</pre>
 *
 * <p>Names are paths below {@code $IOMEMFS}, or {@code /mnt/mem}. What fails is a
 * {@link FileSystemException}, with the daemon's words as its reason.
 *
 * <p>Others may write at any time: order comes from {@link #INT} and {@link #LONG}, whose volatile and
 * atomic operations work between processes. Memory of a region that is not fixed can be taken away by
 * whoever may write to it; touching it then is an {@link InternalError}.
 */
public final class Region implements AutoCloseable {
    /** For volatile and atomic access to an {@code int} of a buffer, at an offset that is a multiple of 4. */
    public static final VarHandle INT =
            MethodHandles.byteBufferViewVarHandle(int[].class, ByteOrder.nativeOrder());

    /** For volatile and atomic access to a {@code long} of a buffer, at an offset that is a multiple of 8. */
    public static final VarHandle LONG =
            MethodHandles.byteBufferViewVarHandle(long[].class, ByteOrder.nativeOrder());

    private static final String DEFAULT_MOUNT = "/mnt/mem";
    private static final int ATTEMPTS = 100;
    private static final long PAUSE_FIRST = 1;
    private static final long PAUSE_LONGEST = 50;

    private final String name;
    private final FileChannel channel;
    private final boolean writable;

    /**
     * What is known of a region; see iomemfs-ctl(7).
     *
     * @param name relative to what was listed
     * @param allocated bytes that have memory
     * @param mode permissions
     * @param refs how often it is open through the mount
     * @param flags options of create
     * @param seals what is forbidden
     * @param pid the process, or its thread, that made it
     * @param command the name of its program
     */
    public record Info(
            String name,
            long size,
            long allocated,
            int mode,
            long uid,
            long gid,
            long refs,
            List<String> flags,
            List<String> seals,
            Instant created,
            int pid,
            String command) {}

    /**
     * Something that happened.
     *
     * @param kind "create", "resize", "seal", "rename", "remove", "last-close", "restart", "overflow", or
     *     one that this version does not know
     * @param name null if it is not about a region
     * @param details what else there is to say, among size, seals, uid, pid and lost
     */
    public record Event(long sequence, String kind, String name, Map<String, Long> details) {}

    /** What happens below a directory, from the moment at which this was made. */
    public static final class Events implements AutoCloseable {
        private final FileChannel channel;
        private final ByteBuffer piece = ByteBuffer.allocate(64 * 1024);
        private final StringBuilder text = new StringBuilder();
        private final Queue<Event> events = new ArrayDeque<>();

        private Events(Path directory) throws IOException {
            channel = FileChannel.open(directory.resolve(".ctl/events"), StandardOpenOption.READ);
        }

        /**
         * The next event; waits until there is one.
         *
         * @return null after close(), which ends the waiting from any thread
         * @throws java.nio.channels.ClosedByInterruptException if the thread is interrupted; then it is
         *     closed, as channels are
         */
        public synchronized Event next() throws IOException {
            while (events.isEmpty()) {
                if (!receive()) {
                    return null;
                }
            }
            return events.remove();
        }

        private boolean receive() throws IOException {
            piece.clear();
            try {
                if (channel.read(piece) < 0) {
                    return false;
                }
            } catch (java.nio.channels.ClosedByInterruptException interrupted) {
                throw interrupted;
            } catch (ClosedChannelException closed) {
                return false;
            }
            // Names are escaped where they are not plain text; their other bytes are put together below.
            text.append(new String(piece.array(), 0, piece.position(), StandardCharsets.ISO_8859_1));
            for (int end; (end = text.indexOf("\n")) >= 0; text.delete(0, end + 1)) {
                events.add(eventOf(text.substring(0, end)));
            }
            return true;
        }

        /** Ends it, and a next() that waits. */
        @Override
        public void close() throws IOException {
            channel.close();
        }
    }

    private Region(String name, FileChannel channel, boolean writable) {
        this.name = name;
        this.channel = channel;
        this.writable = writable;
    }

    /**
     * The directory that names are relative to.
     *
     * @throws FileSystemException if there is no iomemfs
     */
    public static Path mountPoint() throws FileSystemException {
        String where = System.getenv("IOMEMFS");
        Path path = Path.of(where == null || where.isEmpty() ? DEFAULT_MOUNT : where);
        if (!Files.exists(path.resolve(".ctl/create"))) {
            throw new FileSystemException(path.toString(), null, "no iomemfs is mounted there");
        }
        return path;
    }

    /**
     * Makes a region and opens it for reading and writing.
     *
     * @param options words of iomemfs-ctl(7): "fixed", "ephemeral", "populate", "huge", "mode=0640",
     *     "owner=process", "owner=service", "owner=container"; one
     *     that the daemon does not know is refused in its words
     * @throws FileAlreadyExistsException if there is something of that name
     */
    public static Region create(String name, long size, String... options) throws IOException {
        if (size < 0) {
            throw new IllegalArgumentException("a size cannot be negative");
        }
        List<String> words = new ArrayList<>(List.of(Long.toString(size)));
        words.addAll(Arrays.asList(options));
        for (int left = words.contains("ephemeral") ? ATTEMPTS : 1; ; left--) {
            make(name, words);
            try {
                return open(name);
            } catch (NoSuchFileException error) {
                // Whoever opened it in between and closed it again was its last user: it is gone.
                if (left <= 1) {
                    throw error;
                }
            }
        }
    }

    private static void make(String name, List<String> words) throws IOException {
        try {
            command("create", name, words);
        } catch (FileSystemException error) {
            // The errno is not told, but as text in whatever language the system speaks.
            if (Files.exists(pathOf(name), LinkOption.NOFOLLOW_LINKS)) {
                throw new FileAlreadyExistsException(name, null, error.getReason());
            }
            throw error;
        }
    }

    /** Opens a region for reading and writing. */
    public static Region open(String name) throws IOException {
        Path path = pathOf(name);
        return new Region(
                name, FileChannel.open(path, StandardOpenOption.READ, StandardOpenOption.WRITE), true);
    }

    /** Opens a region for reading. */
    public static Region openReadOnly(String name) throws IOException {
        return new Region(name, FileChannel.open(pathOf(name), StandardOpenOption.READ), false);
    }

    /**
     * Waits until there is a region of that name. It looks again and again, every 50 ms in the end.
     *
     * @param timeout null to wait for ever
     * @throws TimeoutException if there is none after that time
     */
    public static void waitFor(String name, Duration timeout)
            throws IOException, InterruptedException, TimeoutException {
        Path path = pathOf(name);
        long end = timeout == null ? Long.MAX_VALUE : deadline(timeout);
        for (long pause = PAUSE_FIRST; !Files.isRegularFile(path); pause = Math.min(2 * pause, PAUSE_LONGEST)) {
            if (Files.isDirectory(path)) {
                throw new FileSystemException(name, null, "is a directory");
            }
            long left = end - System.nanoTime();
            if (timeout != null && left <= 0) {
                throw new TimeoutException(name + ": did not appear in time");
            }
            Thread.sleep(timeout == null ? pause : Math.min(pause, left / 1_000_000 + 1));
        }
    }

    /** A time that is too far away is the farthest that there is. */
    private static long deadline(Duration timeout) {
        long far = Long.MAX_VALUE / 2;
        boolean isFar = timeout.compareTo(Duration.ofNanos(far)) > 0;
        return System.nanoTime() + (isFar ? far : timeout.toNanos());
    }

    /** All regions of the mount. */
    public static List<Info> list() throws IOException {
        return listBelow(mountPoint());
    }

    /** The regions below a directory, with names relative to it. */
    public static List<Info> list(String directory) throws IOException {
        return listBelow(pathOf(directory));
    }

    private static List<Info> listBelow(Path directory) throws IOException {
        byte[] bytes = Files.readAllBytes(directory.resolve(".ctl/regions"));
        String[] lines = new String(bytes, StandardCharsets.ISO_8859_1).split("\n");
        List<String> columns = List.of(lines[0].trim().split(" +"));
        List<Info> infos = new ArrayList<>();
        for (String line : Arrays.asList(lines).subList(1, lines.length)) {
            Info info = infoOf(columns, line.trim().split(" +"));
            if (!info.flags().contains("populating")) {
                infos.add(info);
            }
        }
        return infos;
    }

    private static Info infoOf(List<String> columns, String[] cells) {
        Map<String, String> row = new HashMap<>();
        for (int i = 0; i < cells.length; i++) {
            row.put(columns.get(i), cells[i]);
        }
        return new Info(
                unescape(row.get("NAME")),
                Long.parseLong(row.get("SIZE")),
                Long.parseLong(row.get("ALLOCATED")),
                Integer.parseInt(row.get("MODE"), 8),
                Long.parseLong(row.get("UID")),
                Long.parseLong(row.get("GID")),
                Long.parseLong(row.get("REFS")),
                words(row.get("FLAGS")),
                words(row.get("SEALS")),
                Instant.parse(row.get("CREATED")),
                Integer.parseInt(row.get("PID")),
                unescape(row.get("COMMAND")));
    }

    private static List<String> words(String cell) {
        return cell.equals("-") ? List.of() : List.of(cell.split(","));
    }

    /** What happens to the regions of the mount, from now on. */
    public static Events events() throws IOException {
        return new Events(mountPoint());
    }

    /** What happens to the regions below a directory, from now on. */
    public static Events events(String directory) throws IOException {
        return new Events(pathOf(directory));
    }

    private static Event eventOf(String line) {
        String[] words = line.split(" ");
        Map<String, Long> details = new HashMap<>();
        for (String pair : Arrays.asList(words).subList(3, words.length)) {
            int equals = pair.indexOf('=');
            String value = pair.substring(equals + 1);
            if (equals > 0 && value.matches("[0-9]{1,18}")) {
                details.put(pair.substring(0, equals), Long.parseLong(value));
            }
        }
        String name = words[2].equals("-") ? null : unescape(words[2]);
        return new Event(Long.parseLong(words[0]), words[1], name, details);
    }

    /** Changes the size of a region. */
    public static void resize(String name, long size) throws IOException {
        command("resize", name, List.of(Long.toString(size)));
    }

    /** Forbids for good: "shrink", "grow", "write". */
    public static void seal(String name, String... seals) throws IOException {
        command("seal", name, List.of(String.join(",", seals)));
    }

    /** Removes the name. Who has the region open or mapped keeps it. */
    public static void remove(String name) throws IOException {
        command("remove", name, List.of());
    }

    private static Path pathOf(String name) throws FileSystemException {
        for (String part : name.split("/", -1)) {
            if (List.of("", ".", "..", ".ctl").contains(part)) {
                throw new FileSystemException(name, null, "not a path below the mount");
            }
        }
        return mountPoint().resolve(name);
    }

    /**
     * Carries out a command in one write(2); what the daemon says of an error is read from the same open
     * file.
     */
    private static void command(String verb, String name, List<String> words) throws IOException {
        Path path = pathOf(name);
        StringBuilder line = new StringBuilder(escape(name));
        for (String word : words) {
            if (!word.matches("[a-z0-9=,_-]+")) {
                throw new IllegalArgumentException("not an option: " + word);
            }
            line.append(' ').append(word);
        }
        byte[] bytes = line.append('\n').toString().getBytes(StandardCharsets.UTF_8);
        Path control = mountPoint().resolve(".ctl").resolve(verb);
        try (FileChannel file =
                FileChannel.open(control, StandardOpenOption.READ, StandardOpenOption.WRITE)) {
            try {
                file.write(ByteBuffer.wrap(bytes));
            } catch (IOException error) {
                String reason = reason(file, name, error.getMessage());
                if (!verb.equals("create") && Files.notExists(path, LinkOption.NOFOLLOW_LINKS)) {
                    throw new NoSuchFileException(name, null, reason);
                }
                throw new FileSystemException(name, null, reason);
            }
        }
    }

    private static String reason(FileChannel file, String name, String otherwise) {
        ByteBuffer text = ByteBuffer.allocate(512);
        try {
            if (file.read(text, 0) > 0) {
                String reason = new String(text.array(), 0, text.position(), StandardCharsets.UTF_8);
                String prefix = name + ": ";
                return reason.substring(reason.startsWith(prefix) ? prefix.length() : 0).strip();
            }
        } catch (IOException error) {
            // Then what the first error says by itself.
        }
        return otherwise;
    }

    private static String escape(String name) {
        StringBuilder escaped = new StringBuilder();
        for (char c : name.toCharArray()) {
            if (c <= ' ' || c == '\\' || c == 0x7f) {
                escaped.append(String.format("\\%03o", (int) c));
            } else {
                escaped.append(c);
            }
        }
        return escaped.toString();
    }

    /** The name behind escapes; each char of what is escaped is a byte. */
    private static String unescape(String escaped) {
        byte[] bytes = new byte[escaped.length()];
        int n = 0;
        for (int i = 0; i < escaped.length(); i++) {
            String digits = escaped.substring(i, Math.min(i + 4, escaped.length()));
            if (digits.matches("\\\\[0-3][0-7]{2}")) {
                bytes[n++] = (byte) Integer.parseInt(digits.substring(1), 8);
                i += 3;
            } else {
                bytes[n++] = (byte) escaped.charAt(i);
            }
        }
        return new String(bytes, 0, n, StandardCharsets.UTF_8);
    }

    /** The name below the mount. */
    public String name() {
        return name;
    }

    /** Whether it was opened for writing. */
    public boolean isWritable() {
        return writable;
    }

    /** Bytes, now. */
    public long size() throws IOException {
        return channel.size();
    }

    /** The open file, which stays the region's. */
    public FileChannel channel() {
        return channel;
    }

    /**
     * Maps all of it, at the size that it has now, in the byte order of this machine; for reading only
     * if it was opened so. The memory stays mapped until the buffer is collected, whatever becomes of
     * the region; an ephemeral region keeps its name until then.
     *
     * @throws IllegalArgumentException if it is larger than a buffer can be, 2 GiB: map it in pieces
     */
    public MappedByteBuffer map() throws IOException {
        return map(0, size());
    }

    /** Maps a piece of it. */
    public MappedByteBuffer map(long position, long size) throws IOException {
        if (position < 0 || size < 0 || size > size() - position) {
            // The channel would make the region larger instead.
            throw new IllegalArgumentException("not within the region");
        }
        FileChannel.MapMode mode =
                writable ? FileChannel.MapMode.READ_WRITE : FileChannel.MapMode.READ_ONLY;
        MappedByteBuffer buffer = channel.map(mode, position, size);
        buffer.order(ByteOrder.nativeOrder());
        return buffer;
    }

    /** Closes the descriptor. Buffers stay. */
    @Override
    public void close() throws IOException {
        channel.close();
    }
}
