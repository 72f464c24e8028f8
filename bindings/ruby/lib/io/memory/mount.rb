# SPDX-License-Identifier: MIT
# frozen_string_literal: true

require "etc"
require "json"
require "securerandom"

module IO::Memory
  # An iomemfs, reached by the files of its .ctl.
  class Mount # :nodoc:
    DEFAULT = "/mnt/mem"
    # Bytes that stand for something else in a command; see iomemfs-ctl(7).
    ESCAPED = /[\x00-\x20\\\x7f]/n.freeze
    ATTEMPTS = 100
    TICK_FIRST = 0.001
    TICK_LONGEST = 0.05
    # Events tell of a region; this is for what they do not tell, such as directories.
    TICK_WITH_EVENTS = 0.5

    attr_reader :path

    # The mount that $IOMEMFS names, or nil.
    def self.find
      path = ENV["IOMEMFS"]
      path = DEFAULT if path.nil? || path.empty?
      new(path) if File.exist?("#{path}/.ctl/create")
    end

    def self.get
      find or raise MemoryError, "no iomemfs is mounted at #{ENV.fetch('IOMEMFS', DEFAULT)}"
    end

    def initialize(path)
      @path = path
    end

    def path_of(name)
      name ? "#{@path}/#{Mount.check(name)}" : @path
    end

    def self.check(name)
      name = String(name)
      raise ArgumentError, "a name cannot have a NUL byte" if name.include?("\0")
      if name.empty? || name.b.split("/", -1).any? { |part| ["", ".", "..", ".ctl"].include?(part) }
        raise MemoryError, "#{name.inspect}: not a path below the mount"
      end

      name
    end

    # Words of a command in one write(2); what the daemon says of an error is read from the same
    # open file.
    def command(file, name, *words)
      line = [escape(Mount.check(name)), *words].join(" ".b)
      File.open("#{@path}/.ctl/#{file}", "r+b") do |control|
        begin
          control.syswrite("#{line}\n")
        rescue SystemCallError => error
          raise MemoryError, reason(control) || "#{file} #{name}: #{error.message}"
        end
      end
      nil
    rescue SystemCallError => error
      raise MemoryError, error.message
    end

    # Whoever opens an ephemeral region after it was made and before its maker does, and closes it
    # again, was its last user: it is gone, and is made once more.
    def create(name, size, words)
      attempts = words.include?("ephemeral") ? ATTEMPTS : 1
      loop do
        command("create", name, size.to_s, *words)
        begin
          return open_made(name, words)
        rescue MemoryError => error
          raise unless error.cause.is_a?(Errno::ENOENT) && (attempts -= 1).positive?
        end
      end
    end

    def open_made(name, words)
      open(name, true)
    rescue MemoryError => error
      # Made with a mode that forbids its maker to write.
      raise unless error.cause.is_a?(Errno::EACCES) && words.any? { |word| word.start_with?("mode=") }

      open(name, false)
    end

    def create_unnamed(size)
      create(".io-memory-#{Process.pid}-#{SecureRandom.hex(6)}", size, %w[mode=600 ephemeral])
    end

    def open(name, write)
      path = path_of(name)
      Handle.new(File.open(path, write ? "r+b" : "rb"), name, path, writable: write)
    rescue SystemCallError => error
      raise MemoryError, error.message
    end

    def list(directory)
      text = File.binread("#{path_of(directory)}/.ctl/regions.json")
      JSON.parse(text.force_encoding("UTF-8"), symbolize_names: true)[:regions].each { |r| plain(r) }
    rescue SystemCallError => error
      raise MemoryError, error.message
    end

    def stat(name)
      Mount.check(name)
      directory, _, last = name.b.rpartition("/")
      found = list(directory.empty? ? nil : directory).find { |region| region[:name].b == last }
      raise Errno::ENOENT, name unless found

      found.merge(name: name)
    rescue SystemCallError => error
      raise MemoryError, error.message
    end

    # Waits until there is a region of that name.
    def wait(name, timeout)
      path = path_of(name)
      deadline = timeout && now + timeout
      events = events_beside(path)
      tick = TICK_FIRST
      until region?(path)
        left = deadline ? deadline - now : Float::INFINITY
        raise Errno::ETIMEDOUT, "#{name} did not appear" if left <= 0

        if events
          events.drain if events.wait([left, TICK_WITH_EVENTS].min)
        else
          sleep([left, tick].min)
          tick = [tick * 2, TICK_LONGEST].min
        end
        # The directory may have been made meanwhile.
        events ||= events_beside(path)
      end
      nil
    rescue SystemCallError => error
      raise MemoryError, error.message
    ensure
      events&.close
    end

    private

    def now
      Process.clock_gettime(Process::CLOCK_MONOTONIC)
    end

    def region?(path)
      raise Errno::EISDIR, path if File.directory?(path)

      File.exist?(path)
    end

    def events_beside(path)
      Events.new(File.dirname(path))
    rescue MemoryError
      nil
    end

    def escape(name)
      name.b.gsub(ESCAPED) { |byte| format("\\%03o", byte.ord) }
    end

    def reason(control)
      text = control.pread(512, 0)
      text.force_encoding("UTF-8").scrub.chomp unless text.empty?
    rescue EOFError, SystemCallError
      nil
    end

    # JSON has no bytes that are not UTF-8: such a name is there a second time, escaped.
    def plain(region)
      %i[name creator_command].each do |key|
        escaped = region.delete(:"#{key}_escaped")
        region[key] = Events.unescape(escaped.b) if escaped
      end
      region[:mode] = region[:mode].oct if region[:mode].is_a?(String)
      region.merge!({
        user: name_of(:getpwuid, region[:uid]),
        group: name_of(:getgrgid, region[:gid]),
        creator_user: name_of(:getpwuid, region[:creator_uid])
      }.compact)
    end

    # The name for a number; nil if there is none.
    def name_of(method, id)
      Etc.public_send(method, id).name
    rescue ArgumentError
      nil
    end
  end
  private_constant :Mount
end
