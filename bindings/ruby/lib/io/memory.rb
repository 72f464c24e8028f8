# SPDX-License-Identifier: MIT
# frozen_string_literal: true

require "fcntl"
require_relative "memory/version"
require_relative "memory/error"
require_relative "memory/linux"
require_relative "memory/mount"
require_relative "memory/handle"
require_relative "memory/events"

# Memory that processes share, as an IO and as an IO::Buffer.
#
#     require "io/memory"
#
#     IO::Memory.with(1024) do |handle|
#       buffer = handle.map
#       buffer.set_string("Hello, World!", 0)
#     end
#
# IO::Memory.new and IO::Memory.with make memory without a name.  It is a region of the iomemfs
# that $IOMEMFS names, so that `iomem ls` shows it and the limits of the mount hold for it; where
# there is none, a memfd.  Everything else is about regions with names, and needs the mount:
#
#     IO::Memory.create("frames", 64 << 20, fixed: true).map     # in one program
#     IO::Memory.open("frames", wait: 5).map                     # in any other, in any language
#
# Whatever fails raises MemoryError, whose cause is the SystemCallError.
module IO::Memory
  class << self
    # Makes `size` bytes of memory without a name.  Returns a Handle.
    #
    # On a mount it is an ephemeral region: it is gone when the last process that has it open or
    # mapped has ended, however it ended.
    def new(size)
      size = check_size(size)
      mount = Mount.find
      mount ? mount.create_unnamed(size) : Linux.new(size)
    end

    # Makes memory without a name for the time of the block, and returns what the block did.
    def with(size)
      handle = new(size)
      begin
        yield handle
      ensure
        handle.close
      end
    end

    # Makes the region `name` of the mount and opens it for reading and writing.
    #
    # mode:: permissions; by default what the umask leaves of 0666.
    # fixed:: the size never changes: nobody can take pages away from those who map it.
    # ephemeral:: the name goes with the last reference, however its holder ended.
    # populate:: all pages are there when the name appears.
    # huge:: the same with huge pages.
    # owner:: "process", "service" or "container": the name goes when that one, of this process, has
    #         ended, and the last reference is gone.
    def create(name, size, mode: nil, fixed: false, ephemeral: false, populate: false, huge: false,
               owner: nil)
      size = check_size(size)
      options = { fixed: fixed, ephemeral: ephemeral, populate: populate, huge: huge }
      words = options.select { |_, wanted| wanted }.keys.map(&:to_s)
      words.unshift(format("mode=%o", mode)) if mode
      words.push("owner=#{owner}") if owner
      Mount.get.create(name, size, words)
    end

    # Opens the region `name`, for reading only with `write: false`.  With `wait:` it may be made
    # later: true waits for ever, a number that many seconds.
    def open(name, write: true, wait: nil)
      mount = Mount.get
      mount.wait(name, wait == true ? nil : wait) if wait
      mount.open(name, write)
    end

    # A Handle for memory that came from elsewhere, for example by UNIXSocket#recv_io.
    def for(io)
      Handle.new(io, nil, nil, writable: writable?(io))
    end

    # Waits until there is a region of that name, at most `timeout` seconds.
    def wait(name, timeout = nil)
      Mount.get.wait(name, timeout)
    end

    # The regions below a directory of the mount (default: all), as hashes with the members that
    # iomemfs-ctl(7) lists: :name, :size, :allocated, :mode, :uid, ...
    def list(directory = nil)
      Mount.get.list(directory)
    end

    # What is known of one region, as in .list.
    def stat(name)
      Mount.get.stat(name)
    end

    # Changes the size of a region.
    def resize(name, size)
      Mount.get.command("resize", name, check_size(size).to_s)
    end

    # Forbids for good, among :shrink, :grow and :write.
    def seal(name, *seals)
      Mount.get.command("seal", name, seals.flatten.join(","))
    end

    # Removes the name.  Who has the region open or mapped keeps it.
    def remove(name)
      Mount.get.command("remove", name)
    end

    # What happens to the regions below a directory, from now on: an Events, which is closed after
    # the block if there is one.
    def events(directory = nil)
      events = Events.new(Mount.get.path_of(directory))
      return events unless block_given?

      begin
        yield events
      ensure
        events.close
      end
    end

    # Where the memory comes from: a hash with :implementation, :platform and :features.
    def info
      mount = Mount.find
      return Linux.info unless mount

      {
        implementation: "iomemfs at #{mount.path}",
        platform: RUBY_PLATFORM,
        features: %w[file_descriptor_passing zero_copy named_memory ephemeral events]
      }
    end

    def check_size(size) # :nodoc:
      number = Integer(size)
      raise ArgumentError, "a size cannot be negative: #{size}" if number.negative?

      number
    end

    def writable?(io) # :nodoc:
      io.fcntl(Fcntl::F_GETFL) & Fcntl::O_ACCMODE == File::RDWR
    end
  end
end
