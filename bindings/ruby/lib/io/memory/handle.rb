# SPDX-License-Identifier: MIT
# frozen_string_literal: true

require_relative "version"

module IO::Memory
  # Memory that can be mapped, read, written and passed on.
  class Handle
    # The File: for send_io, and for whoever wants to seek, read and write.
    attr_reader :io
    # The name of a region; nil if the memory has none.
    attr_reader :name
    # The path of a region's file; nil if the memory has none.
    attr_reader :path

    def initialize(io, name, path, writable: true) # :nodoc:
      io.sync = true
      io.binmode
      @io = io
      @name = name
      @path = path
      @writable = writable
      @size = io.stat.size
    end

    # Bytes.  Somebody may have resized it, unless it is fixed.
    def size
      @size = @io.stat.size unless @io.closed?
      @size
    end

    def writable?
      @writable
    end

    # Maps the memory, or its first `size` bytes, as an IO::Buffer, which stays when the handle is
    # closed.  Every call maps anew: free a buffer that is not needed any more by IO::Buffer#free.
    # What is open for reading only gives a buffer that is.
    def map(size = nil)
      size ||= self.size
      return IO::Buffer.new(0) if size.zero?

      flags = @writable ? 0 : IO::Buffer::READONLY
      IO::Buffer.map(@io, size, 0, flags)
    end

    # Closes the IO.  Buffers stay mapped.
    def close
      @size = size
      @io.close unless @io.closed?
      nil
    end

    def closed?
      @io.closed?
    end

    def inspect
      "#<#{self.class} #{@name || 'without a name'} #{@size} bytes#{' closed' if closed?}>"
    end
  end
end
