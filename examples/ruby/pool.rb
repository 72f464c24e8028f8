# SPDX-License-Identifier: MIT
# frozen_string_literal: true

# Three workers reverse strings in shared memory.  Only slot numbers go through the pipes.

require_relative "common"

SLOT = 64 # bytes: the length of the string, then the string
WORDS = %w[shared memory has no copies to make and none to wait for].freeze

def read_slot(buffer, slot)
  buffer.get_string(slot * SLOT + 1, buffer.get_value(:U8, slot * SLOT))
end

def write_slot(buffer, slot, string)
  buffer.set_value(:U8, slot * SLOT, string.bytesize)
  buffer.set_string(string, slot * SLOT + 1)
end

def work(buffer, jobs, done)
  while (slot = jobs.read(1))
    number = slot.ord
    write_slot(buffer, number, read_slot(buffer, number).reverse)
    done.write(slot)
  end
end

Mem.with_region("example-pool", 4096) do |path|
  File.open(path, "r+") do |file|
    buffer = Mem.map(file)
    WORDS.each_with_index { |word, slot| write_slot(buffer, slot, word) }

    jobs_out, jobs_in = IO.pipe
    done_out, done_in = IO.pipe
    [jobs_in, done_in].each { |io| io.sync = true }
    workers = Array.new(3) do
      fork do
        jobs_in.close
        work(buffer, jobs_out, done_in)
        exit!(0)
      end
    end
    jobs_out.close
    done_in.close
    WORDS.each_index { |slot| jobs_in.write(slot.chr) }
    jobs_in.close
    finished = done_out.read.bytesize # until the last worker has ended
    workers.each { |pid| Process.wait(pid) }

    puts "#{finished} strings by #{workers.size} workers"
    puts WORDS.each_index.map { |slot| read_slot(buffer, slot) }.join(" ")
  end
end
