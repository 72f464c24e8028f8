# SPDX-License-Identifier: MIT
# frozen_string_literal: true

# One process makes a region, another waits for it by name, and both are on the same memory.

require "io/memory"

NAME = "example-frames"

reader = fork do
  handle = IO::Memory.open(NAME, wait: 10)
  buffer = handle.map
  sleep 0.001 until buffer.get_value(:u32, 0) == 1
  puts "reader sees: #{buffer.get_string(64, 12)}"
  $stdout.flush
  buffer.set_value(:u32, 0, 2)
  exit!(0)
end

writer = IO::Memory.create(NAME, 4096, fixed: true, ephemeral: true)
buffer = writer.map
buffer.set_string("frame number", 64)
buffer.set_value(:u32, 0, 1) # it is there
Process.wait(reader)
puts "writer sees: answer #{buffer.get_value(:u32, 0)}"
