// SPDX-License-Identifier: MIT

import iomem.Region;
import java.nio.MappedByteBuffer;
import java.nio.charset.StandardCharsets;
import java.time.Duration;

/**
 * Frames write|read NAME: two programs, in two languages if you like, on the same memory. The first makes a
 * region, the other waits for it by name and answers. docs/languages.md has the same program for the other
 * languages.
 */
public class Frames {
    private static final int TEXT = 64;
    private static final int ANSWER = 128;
    private static final int LENGTH = 64;

    private static void until(MappedByteBuffer frames, int value) throws InterruptedException {
        while ((int) Region.INT.getVolatile(frames, 0) != value) {
            Thread.sleep(1);
        }
    }

    private static String textAt(MappedByteBuffer frames, int offset) {
        byte[] bytes = new byte[LENGTH];
        frames.get(offset, bytes);
        return new String(bytes, StandardCharsets.UTF_8).split("\0", 2)[0];
    }

    private static void put(MappedByteBuffer frames, int offset, String text) {
        frames.put(offset, text.getBytes(StandardCharsets.UTF_8));
    }

    private static void write(String name) throws Exception {
        try (Region region = Region.create(name, 4096, "fixed", "ephemeral")) {
            MappedByteBuffer frames = region.map();
            put(frames, TEXT, "hello from Java");
            Region.INT.setVolatile(frames, 0, 1);
            until(frames, 2);
            System.out.println("Java is told: " + textAt(frames, ANSWER));
        }
    }

    private static void read(String name) throws Exception {
        Region.waitFor(name, Duration.ofSeconds(30));
        try (Region region = Region.open(name)) {
            MappedByteBuffer frames = region.map();
            until(frames, 1);
            System.out.println("Java reads: " + textAt(frames, TEXT));
            put(frames, ANSWER, "Java has read it");
            Region.INT.setVolatile(frames, 0, 2);
        }
    }

    /** Nobody needs to have the region open: its name goes when this process has ended. */
    private static void keep(String name) throws Exception {
        Region.create(name, 4096, "owner=process").close();
        System.out.println("Java keeps it");
        Thread.sleep(60_000);
    }

    public static void main(String[] args) throws Exception {
        if (args.length == 2 && args[0].equals("write")) {
            write(args[1]);
        } else if (args.length == 2 && args[0].equals("read")) {
            read(args[1]);
        } else if (args.length == 2 && args[0].equals("keep")) {
            keep(args[1]);
        } else {
            System.err.println("usage: Frames write|read|keep NAME");
            System.exit(2);
        }
    }
}
