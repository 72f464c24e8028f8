# SPDX-License-Identifier: MIT
# frozen_string_literal: true

# Many records go to the memory in one copy, and become visible when, after that, their number is
# written: a reader never sees half a batch.

require_relative "common"

RECORD = 16
HEADER = 64 # the number of records, on a cache line of its own
BATCH = 100
BATCHES = 5

Mem.with_region("example-batch", 64 * 1024) do |path|
  File.open(path, "r+") do |file|
    buffer = Mem.map(file)

    writer = fork do
      BATCHES.times do |batch|
        first = batch * BATCH
        records = Array.new(BATCH) { |i| format("record %08d ", first + i) }.join
        buffer.set_string(records, HEADER + first * RECORD)
        buffer.set_value(:u64, 0, first + BATCH)
      end
      exit!(0)
    end

    seen = 0
    while seen < BATCH * BATCHES
      count = buffer.get_value(:u64, 0)
      (seen...count).each do |i|
        record = buffer.get_string(HEADER + i * RECORD, RECORD)
        raise "record #{i} is not whole: #{record}" unless record == format("record %08d ", i)
      end
      seen = count
    end
    Process.wait(writer)

    puts "#{seen} records in batches of #{BATCH}"
  end
end
