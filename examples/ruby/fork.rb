# SPDX-License-Identifier: MIT
# frozen_string_literal: true

# Parent and child on one region across fork.

require_relative "common"

Mem.with_region("example-fork", 4096) do |path|
  File.open(path, "r+") do |file|
    buffer = Mem.map(file)
    buffer.set_string("from the parent", 0)

    child = fork do
      puts "child reads: #{buffer.get_string(0, 15)}"
      $stdout.flush
      buffer.set_string("from the child!", 0)
      exit!(0)
    end
    Process.wait(child)

    puts "parent reads: #{buffer.get_string(0, 15)}"
  end
end
