# SPDX-License-Identifier: MIT
# frozen_string_literal: true

require_relative "helper"

# Regions with names.
class TestRegions < Minitest::Test
  include Helper

  def teardown
    names.each { |name| IO::Memory.remove(name) }
    super
  end

  def fails_with(error_class, text = //, &block)
    error = assert_raises(IO::Memory::MemoryError, &block)
    assert_kind_of error_class, error.cause
    assert_equal error_class::Errno, error.errno
    assert_match text, error.message
  end

  def test_create_and_open
    made = IO::Memory.create("frames", 10_000, mode: 0o640, fixed: true)
    assert_equal ["frames", "#{MOUNT}/frames", 10_000], [made.name, made.path, made.size]
    made.map.set_string("seen", 9_996)
    opened = IO::Memory.open("frames")
    assert_equal "seen", opened.map.get_string(9_996, 4)
    region = IO::Memory.stat("frames")
    assert_equal [0o640, ["fixed"], %w[shrink grow]], region.values_at(:mode, :flags, :seals)
    fails_with(Errno::EPERM, /fixed/) { IO::Memory.resize("frames", 1) }
    [made, opened].each(&:close)
  end

  def test_reading_only
    IO::Memory.create("a", 4096).close
    reader = IO::Memory.open("a", write: false)
    refute reader.writable?
    buffer = reader.map
    assert_predicate buffer, :readonly?
    assert_raises(IO::Buffer::AccessError) { buffer.set_string("x", 0) }
    assert_raises(IOError) { reader.io.write("x") }
    reader.close
  end

  def test_made_for_nobody_to_write
    handle = IO::Memory.create("a", 4096, mode: 0o444)
    assert_equal 4096, handle.map.size
    handle.close
  end

  def test_resize_seal_and_remove
    IO::Memory.create("a", 4096).close
    IO::Memory.resize("a", 8192)
    assert_equal 8192, IO::Memory.stat("a")[:size]
    IO::Memory.seal("a", :shrink, :write)
    assert_equal %w[shrink write], IO::Memory.stat("a")[:seals]
    fails_with(Errno::EPERM) { IO::Memory.resize("a", 1) }
    fails_with(Errno::EINVAL, /seals are/) { IO::Memory.seal("a", :thaw) }
    IO::Memory.remove("a")
    fails_with(Errno::ENOENT) { IO::Memory.remove("a") }
    fails_with(Errno::ENOENT) { IO::Memory.stat("a") }
    fails_with(Errno::ENOENT) { IO::Memory.open("a") }
  end

  def test_populate
    IO::Memory.create("a", 64 << 10, populate: true).close
    assert_equal 64 << 10, IO::Memory.stat("a")[:allocated]
  end

  def test_owner
    ready, made = IO.pipe
    maker = fork do
      IO::Memory.create("a", 4096, owner: "process").close
      IO::Memory.open("a").close
      made.write("made")
      made.close
      sleep
    end
    made.close
    assert_equal "made", ready.read
    assert_equal ["owner=process"], IO::Memory.stat("a")[:flags].map(&:to_s)
    Process.kill(:KILL, maker)
    Process.wait(maker)
    deadline = Process.clock_gettime(Process::CLOCK_MONOTONIC) + 30
    sleep 0.01 until names.empty? || Process.clock_gettime(Process::CLOCK_MONOTONIC) > deadline
    assert_equal [], names
  ensure
    ready&.close
  end

  def test_what_the_daemon_says_is_shown
    IO::Memory.create("a", 4096).close
    fails_with(Errno::EEXIST, /a: exists already/) { IO::Memory.create("a", 4096) }
    fails_with(Errno::EINVAL, /mode=/) { IO::Memory.create("b", 4096, mode: 0o7777) }
    fails_with(Errno::EINVAL, /owner=nobody/) { IO::Memory.create("b", 4096, owner: "nobody") }
    fails_with(Errno::ENOSPC, /size=/) { IO::Memory.create("b", 2 << 30) }
    assert_equal ["a"], names
  end

  def test_names
    strange = ["with space", "tab\tnewline\n", "back\\slash", "häßlich", "\xff\xfe", "-"]
    strange.each { |name| IO::Memory.create(name, 1).close }
    assert_equal strange.map(&:b).sort, names.map(&:b).sort
    strange.each { |name| assert_equal 1, IO::Memory.stat(name)[:size] }
    ["", "/a", "a/", "a//b", "..", "a/../b", ".ctl", ".ctl/create"].each do |name|
      assert_raises(IO::Memory::MemoryError, name) { IO::Memory.create(name, 1) }
      assert_raises(IO::Memory::MemoryError, name) { IO::Memory.open(name) }
    end
    assert_raises(ArgumentError) { IO::Memory.open("a\0b") }
  end

  def test_directories
    Dir.mkdir("#{MOUNT}/d")
    IO::Memory.create("d/a", 1).close
    IO::Memory.create("b", 1).close
    assert_equal %w[b d/a], names.sort
    assert_equal ["a"], IO::Memory.list("d").map { |region| region[:name] }
    assert_equal "d/a", IO::Memory.stat("d/a")[:name]
    IO::Memory.remove("d/a")
    fails_with(Errno::EISDIR) { IO::Memory.wait("d", 1) }
  ensure
    Dir.rmdir("#{MOUNT}/d")
  end

  def test_wait
    fails_with(Errno::ETIMEDOUT, /late/) { IO::Memory.open("late", wait: 0.05) }
    waiting = Thread.new { IO::Memory.open("late", wait: 30).map.get_string(0, 4) }
    wait_for("the waiter") { waiting.status == "sleep" }
    made = IO::Memory.create("early", 4096)
    made.map.set_string("here", 0)
    File.rename(made.path, "#{MOUNT}/late")
    assert_equal "here", waiting.value
    made.close
    IO::Memory.wait("late") # it is there
  end

  def test_wait_below_a_directory_that_is_not_there_yet
    waiting = Thread.new { IO::Memory.open("d/late", wait: true).size }
    wait_for("the waiter") { waiting.status == "sleep" }
    Dir.mkdir("#{MOUNT}/d")
    IO::Memory.create("d/late", 5).close
    assert_equal 5, waiting.value
    IO::Memory.remove("d/late")
    Dir.rmdir("#{MOUNT}/d")
  end

  def test_events
    IO::Memory.events do |events|
      assert_nil events.next(0)
      IO::Memory.create("a b", 4096).close
      IO::Memory.resize("a b", 8192)
      IO::Memory.remove("a b")
      seen = Array.new(4) { events.next(30) }
      assert_equal %w[create last-close resize remove], seen.map(&:kind)
      assert_equal ["a b"], seen.map(&:name).uniq
      assert_equal [4096, Process.uid, Process.pid],
                   seen.first.details.values_at(:size, :uid, :pid)
      assert_equal seen.map(&:sequence).sort, seen.map(&:sequence)
      assert_nil events.next(0)
    end
  end

  def test_events_as_an_enumerator_and_with_select
    events = IO::Memory.events
    reader = Thread.new { events.lazy.reject { |e| e.kind == "last-close" }.map(&:kind).first(2) }
    IO::Memory.create("a", 1).close
    IO::Memory.remove("a")
    assert_equal %w[create remove], reader.value
    IO::Memory.create("b", 1).close
    assert_equal [[events], [], []], IO.select([events], nil, nil, 30)
    events.close
    assert_predicate events, :closed?
  end

  def test_a_killed_holder_leaves_nothing
    reader, writer = IO.pipe
    pid = fork do
      handles = [IO::Memory.create("short", 4096, ephemeral: true), IO::Memory.new(4096)]
      buffers = handles.map(&:map)
      writer.puts("ready")
      sleep
      buffers.clear
    end
    reader.gets
    assert_equal 2, names.size
    other = IO::Memory.open("short").map
    Process.kill(:KILL, pid)
    Process.wait(pid)
    wait_for("the end of what only the dead one had") { names == ["short"] }
    assert_equal "\0", other.get_string(0, 1)
    other.free
    GC.start
    wait_for("the end") { names.empty? }
  end
end
