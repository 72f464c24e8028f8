# SPDX-License-Identifier: MIT
# frozen_string_literal: true

require "fiddle"
require_relative "version"
require_relative "error"
require_relative "handle"

module IO::Memory
  # Memory without a mount: memfd_create(2).
  module Linux
    CLOEXEC = 1 # MFD_CLOEXEC
    private_constant :CLOEXEC

    # What Linux.new returns, so that it can be told from memory of a mount.
    class Handle < IO::Memory::Handle
    end

    class << self
      def supported?
        !function.nil?
      end

      # Makes `size` bytes of memory that belong to no mount.
      def new(size)
        file = File.for_fd(create, "r+b")
        begin
          file.truncate(size)
        rescue SystemCallError => error
          file.close
          raise MemoryError, "#{size} bytes of memory: #{error.message}"
        end
        Handle.new(file, nil, nil)
      end

      def with(size)
        handle = new(size)
        begin
          yield handle
        ensure
          handle.close
        end
      end

      def info
        {
          implementation: "Linux memfd_create",
          platform: RUBY_PLATFORM,
          features: %w[file_descriptor_passing zero_copy anonymous_memory]
        }
      end

      private

      def function
        @function ||= Fiddle::Function.new(
          Fiddle.dlopen(nil)["memfd_create"],
          [Fiddle::TYPE_VOIDP, Fiddle::TYPE_INT], Fiddle::TYPE_INT
        )
      rescue Fiddle::DLError
        nil
      end

      def create
        raise MemoryError, "this C library has no memfd_create(2)" unless supported?

        fd = function.call("io-memory", CLOEXEC)
        raise SystemCallError.new("memfd_create", Fiddle.last_error) if fd.negative?

        fd
      rescue SystemCallError => error
        raise MemoryError, error.message
      end
    end
  end
end
