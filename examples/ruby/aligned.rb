# SPDX-License-Identifier: MIT
# frozen_string_literal: true

# Each process counts on a cache line of its own, so that none slows another down by writing to
# the line on which the other's counter is.

require_relative "common"

CACHE_LINE = 64
PROCESSES = 3
ROUNDS = 10_000

# The next multiple of the cache line.
def align(offset)
  (offset + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE
end

header = 20 # bytes of something at the front
offsets = Array.new(PROCESSES) { |i| align(header) + i * CACHE_LINE }
raise unless offsets.all? { |offset| (offset % CACHE_LINE).zero? }

Mem.with_region("example-aligned", 4096) do |path|
  File.open(path, "r+") do |file|
    buffer = Mem.map(file)
    pids = offsets.map do |offset|
      fork do
        ROUNDS.times { buffer.set_value(:u64, offset, buffer.get_value(:u64, offset) + 1) }
        exit!(0)
      end
    end
    pids.each { |pid| Process.wait(pid) }

    puts "offsets: #{offsets.join(' ')}"
    puts "counts: #{offsets.map { |offset| buffer.get_value(:u64, offset) }.join(' ')}"
  end
end
