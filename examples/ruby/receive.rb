# SPDX-License-Identifier: MIT
# frozen_string_literal: true

# A descriptor comes over a socket with recv_io, is mapped, and the answer goes back through the
# memory.  The parent gets it from the daemon, the child from the parent.

require_relative "common"

# One request to the daemon that is answered with a descriptor.  It rides on the answer's first
# byte, the "o" of "ok", which recv_io takes along with it.
def ask_for_io(daemon, line)
  daemon.puts(line)
  io = daemon.recv_io(File, "r+b")
  rest = daemon.gets
  raise rest unless rest.start_with?("k ")

  io
end

daemon = UNIXSocket.new(File.readlink("#{Mem::MOUNT}/.ctl/socket"))
region = ask_for_io(daemon, "create example-receive 4096")
buffer = Mem.map(region)
buffer.set_string("what is 6 * 7?", 0)

here, there = UNIXSocket.pair
child = fork do
  here.close
  received = there.recv_io(File, "r+b")
  memory = Mem.map(received)
  puts "child is asked: #{memory.get_string(0, 14)}"
  $stdout.flush
  memory.set_string("42", 64)
  there.write("!") # it is there
  exit!(0)
end
there.close
here.send_io(region)
here.read(1)
puts "parent is told: #{buffer.get_string(64, 2)}"
Process.wait(child)

daemon.puts("remove example-receive")
puts "removed: #{daemon.gets.chomp}"
