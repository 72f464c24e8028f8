# SPDX-License-Identifier: MIT
# frozen_string_literal: true

require_relative "helper"

# Memory without a name: the same on a mount and without one.
module WithoutName
  def test_handle
    handle = IO::Memory.new(1024)
    assert_equal 1024, handle.size
    refute handle.closed?
    buffer = handle.map
    assert_instance_of IO::Buffer, buffer
    assert_equal 1024, buffer.size
    handle.close
    assert handle.closed?
    handle.close
    assert_equal 1024, handle.size
    buffer.set_string("still mapped", 0)
    assert_equal "still mapped", buffer.get_string(0, 12)
    buffer.free
  end

  def test_with_returns_what_the_block_did_and_closes
    kept = nil
    result = IO::Memory.with(128) do |handle|
      kept = handle
      :result
    end
    assert_equal :result, result
    assert kept.closed?
    assert_raises(RuntimeError) { IO::Memory.with(1) { |handle| (kept = handle) && raise("no") } }
    assert kept.closed?
  end

  def test_io_and_buffers_are_one_memory
    IO::Memory.with(4096) do |handle|
      one = handle.map
      other = handle.map
      one.set_string("through a buffer", 100)
      assert_equal "through a buffer", other.get_string(100, 16)
      assert_equal "through a buffer", handle.io.pread(16, 100)
      handle.io.seek(200)
      handle.io.write("through the io")
      assert_equal "through the io", one.get_string(200, 14)
      [one, other].each(&:free)
    end
  end

  def test_part
    IO::Memory.with(8192) do |handle|
      part = handle.map(512)
      assert_equal 512, part.size
      assert_raises(ArgumentError) { part.set_string("x", 512) }
      part.free
    end
  end

  def test_size_zero
    handle = IO::Memory.new(0)
    assert_equal 0, handle.size
    buffer = handle.map
    assert_instance_of IO::Buffer, buffer
    assert_equal 0, buffer.size
    handle.io.truncate(16)
    buffer = handle.map
    assert_equal 16, buffer.size
    buffer.free
    handle.close
  end

  def test_large
    size = 256 << 20
    IO::Memory.with(size) do |handle|
      buffer = handle.map
      buffer.set_string("end", size - 3)
      assert_equal "end", buffer.get_string(size - 3, 3)
      assert_equal "\0\0\0", buffer.get_string(size / 2, 3)
      buffer.free
    end
  end

  def test_bad_sizes
    assert_raises(ArgumentError) { IO::Memory.new(-1) }
    assert_raises(ArgumentError) { IO::Memory.new("much") }
    assert_raises(TypeError) { IO::Memory.new(nil) }
    assert_operator IO::Memory::MemoryError, :<, StandardError
  end

  def test_info
    info = IO::Memory.info
    assert_instance_of String, info[:implementation]
    assert_equal RUBY_PLATFORM, info[:platform]
    assert_instance_of Array, info[:features]
  end

  def test_fork
    handle = IO::Memory.new(1024)
    buffer = handle.map
    buffer.set_string("from the parent", 0)
    in_child do
      mine = handle.map
      raise "not seen" unless mine.get_string(0, 15) == "from the parent"

      mine.set_string("from the child!", 512)
    end
    assert_equal "from the child!", buffer.get_string(512, 15)
    buffer.free
    handle.close
  end

  def test_a_descriptor_goes_through_a_socket
    handle = IO::Memory.new(2048)
    buffer = handle.map
    buffer.set_string("question", 0)
    here, there = UNIXSocket.pair
    here.send_io(handle.io)
    in_child do
      here.close
      received = there.recv_io
      memory = IO::Buffer.map(received, 2048)
      raise "not seen" unless memory.get_string(0, 8) == "question"

      memory.set_string("answer", 1000)
    end
    assert_equal "answer", buffer.get_string(1000, 6)
    here.send_io(handle.io)
    received = IO::Memory.for(there.recv_io)
    assert_equal 2048, received.size
    assert received.writable?
    again = received.map
    assert_equal "answer", again.get_string(1000, 6)
    [buffer, again].each(&:free)
    [received, handle, here, there].each(&:close)
  end

  # Workers that each get the memory over a socket, and positions in it as their orders.
  class Pool
    def initialize(workers, size)
      @handle = IO::Memory.new(size)
      @memory = @handle.map
      @workers = Array.new(workers) { start }
    end

    def reverse(text, position, number)
      @memory.set_string(text, position)
      socket = @workers[number % @workers.size].last
      socket.puts("#{position} #{text.bytesize}")
      result = Integer(socket.gets)
      @memory.get_string(result, text.bytesize)
    end

    def shut_down
      @workers.each { |_, socket| socket.puts("end") }
      statuses = @workers.map { |pid, _| Process.wait2(pid).last }
      @workers.each { |_, socket| socket.close }
      @memory.free
      @handle.close
      statuses
    end

    private

    def start
      ours, theirs = UNIXSocket.pair
      pid = fork do
        ours.close
        work(theirs)
        exit!(0)
      end
      theirs.close
      ours.send_io(@handle.io)
      [pid, ours]
    end

    def work(socket)
      memory = IO::Buffer.map(socket.recv_io)
      while (order = socket.gets.chomp) != "end"
        position, length = order.split.map(&:to_i)
        memory.set_string(memory.get_string(position, length).reverse, position + 10_000)
        socket.puts(position + 10_000)
      end
    end
  end

  def test_pool
    pool = Pool.new(3, 1 << 20)
    words = ["Hello World", "Shared Memory", "Zero Copy IPC", "and again"]
    results = words.each_with_index.map { |word, i| pool.reverse(word, i * 100, i) }
    assert_equal words.map(&:reverse), results
    assert pool.shut_down.all?(&:success?)
  end

  def test_aligned_and_in_batches
    align = ->(offset) { (offset + 63) / 64 * 64 }
    IO::Memory.with(4096) do |handle|
      buffer = handle.map
      offsets = [0, 100, 200].map(&align)
      assert_equal [0, 128, 256], offsets
      offsets.each_with_index { |offset, i| buffer.set_string("datum #{i}", offset) }
      assert_equal ["datum 0", "datum 1", "datum 2"], offsets.map { |at| buffer.get_string(at, 7) }
      buffer.set_string(("A".."Z").to_a.join, 1000)
      assert_equal "XYZ", buffer.get_string(1023, 3)
      buffer.free
    end
  end
end

class TestOnMount < Minitest::Test
  include Helper
  include WithoutName

  def test_it_is_a_region_that_goes_with_its_last_user
    handle = IO::Memory.new(8192)
    assert_equal [handle.name], names
    region = IO::Memory.stat(handle.name)
    assert_equal [8192, 0o600, ["ephemeral"]],
                 [region[:size], region[:mode], region[:flags]]
    buffer = handle.map
    handle.close
    assert_equal 1, names.size # mapped
    buffer.free
    wait_for("its end") { names.empty? }
  end

  def test_more_than_the_mount_has
    error = assert_raises(IO::Memory::MemoryError) { IO::Memory.new(2 << 30) }
    assert_equal Errno::ENOSPC::Errno, error.errno
    assert_raises(IO::Memory::MemoryError) { IO::Memory.new(1 << 62) }
  end

  def test_info_names_the_mount
    assert_includes IO::Memory.info[:implementation], MOUNT
  end
end

class TestWithoutMount < Minitest::Test
  include Helper
  include WithoutName

  def run
    without_mount { super }
  end

  def teardown
    ENV["IOMEMFS"] = MOUNT
    super
  end

  def test_it_is_a_memfd
    IO::Memory.with(1) do |handle|
      assert_instance_of IO::Memory::Linux::Handle, handle
      assert_match(/memfd:io-memory/, File.readlink("/proc/self/fd/#{handle.io.fileno}"))
      assert_nil handle.name
      assert handle.io.close_on_exec?
    end
    assert_equal "Linux memfd_create", IO::Memory.info[:implementation]
  end

  def test_names_need_a_mount
    [-> { IO::Memory.create("a", 1) }, -> { IO::Memory.open("a") }, -> { IO::Memory.list },
     -> { IO::Memory.events }, -> { IO::Memory.wait("a", 1) }].each do |call|
      error = assert_raises(IO::Memory::MemoryError, &call)
      assert_match(/no iomemfs/, error.message)
    end
  end
end
