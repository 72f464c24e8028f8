# SPDX-License-Identifier: MIT
# frozen_string_literal: true

require "socket"

Warning[:experimental] = false # IO::Buffer, in Ruby 3.1

# What the examples share: regions of the mount that $IOMEMFS names.
module Mem
  MOUNT = ENV.fetch("IOMEMFS", "/mnt/mem")

  module_function

  # Makes a region for the time of the block.
  def with_region(name, size)
    File.write("#{MOUNT}/.ctl/create", "#{name} #{size}\n", mode: "r+")
    yield "#{MOUNT}/#{name}"
  ensure
    File.unlink("#{MOUNT}/#{name}") if File.exist?("#{MOUNT}/#{name}")
  end

  # Maps all of an open region, shared with everybody else who does.
  def map(io)
    IO::Buffer.map(io)
  end
end
