# SPDX-License-Identifier: MIT
# frozen_string_literal: true

module IO::Memory
  # What happened: `kind` is "create", "resize", "seal", "rename", "remove", "last-close", "restart"
  # or "overflow"; `name` is nil where an event is not about a region; `details` has what else there
  # is to say, among size, seals, uid, pid and lost.
  Event = Struct.new(:sequence, :kind, :name, :details)

  # What happens below a directory, from the moment at which this was made.
  #
  #     IO::Memory.events do |events|
  #       events.each { |event| puts "#{event.kind} #{event.name}" }
  #     end
  #
  # It can be given to IO.select.
  class Events
    include Enumerable

    PIECE = 65_536
    private_constant :PIECE

    def initialize(directory) # :nodoc:
      @file = File.open("#{directory}/.ctl/events", File::RDONLY | File::NONBLOCK)
      @text = "".b
    rescue SystemCallError => error
      raise MemoryError, error.message
    end

    # The next event.  nil if there is none within `timeout` seconds (nil: waits for ever).
    def next(timeout = nil)
      deadline = timeout && Process.clock_gettime(Process::CLOCK_MONOTONIC) + timeout
      until (line = take_line)
        left = deadline && deadline - Process.clock_gettime(Process::CLOCK_MONOTONIC)
        return nil if left && left.negative?

        receive if wait(left)
      end
      parse(line)
    end

    # Each event as it comes, without end.
    def each
      return enum_for(:each) unless block_given?

      loop { yield self.next }
    end

    # Whether there is something to read within so many seconds.
    def wait(timeout = nil)
      return self if @text.include?("\n")

      IO.select([@file], nil, nil, timeout) && self
    end

    # Takes what is there, without a look at it.
    def drain # :nodoc:
      receive
      @text.clear
    end

    def close
      @file.close
    end

    def closed?
      @file.closed?
    end

    def to_io
      @file
    end

    private

    def receive
      @text << @file.sysread(PIECE)
    rescue Errno::EAGAIN
      nil
    end

    def take_line
      end_of_line = @text.index("\n")
      @text.slice!(0..end_of_line).chomp if end_of_line
    end

    def parse(line)
      sequence, kind, name, *pairs = line.split
      details = pairs.to_h do |pair|
        key, value = pair.split("=", 2)
        [key.to_sym, value.match?(/\A\d+\z/) ? value.to_i : value]
      end
      Event.new(sequence.to_i, kind, name == "-" ? nil : Events.unescape(name), details)
    end

    # The name behind the escapes of an event or a listing.
    def self.unescape(name) # :nodoc:
      name.gsub(/\\([0-7]{3})/n) { Regexp.last_match(1).oct.chr }.force_encoding("UTF-8")
    end
  end
end
