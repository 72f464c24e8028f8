# SPDX-License-Identifier: MIT
# frozen_string_literal: true

# frames.rb write|read NAME: two programs, in two languages if you like, on the same memory.  The first
# makes a region, the other waits for it by name and answers.  docs/languages.md has the same program for
# the other languages.

require "io/memory"

TEXT = 64
ANSWER = 128
LENGTH = 64

def await(frames, value)
  sleep 0.001 until frames.get_value(:u32, 0) == value
end

def text_at(frames, offset)
  frames.get_string(offset, LENGTH).unpack1("Z*")
end

def write(name)
  handle = IO::Memory.create(name, 4096, fixed: true, ephemeral: true)
  frames = handle.map
  frames.set_string("hello from Ruby", TEXT)
  frames.set_value(:u32, 0, 1)
  await(frames, 2)
  puts "Ruby is told: #{text_at(frames, ANSWER)}"
end

def read(name)
  handle = IO::Memory.open(name, wait: 30)
  frames = handle.map
  await(frames, 1)
  puts "Ruby reads: #{text_at(frames, TEXT)}"
  frames.set_string("Ruby has read it", ANSWER)
  frames.set_value(:u32, 0, 2)
end

# Nobody needs to have the region open: its name goes when this process has ended.
def keep(name)
  IO::Memory.create(name, 4096, owner: "process").close
  puts "Ruby keeps it"
  $stdout.flush
  sleep 60
end

role, name = ARGV
abort "usage: frames.rb write|read|keep NAME" unless %w[write read keep].include?(role) && name
send(role, name)
