# SPDX-License-Identifier: MIT
# frozen_string_literal: true

require "minitest/autorun"
require "io/memory"
require "open3"
require "rbconfig"
require "socket"
require "tmpdir"

MOUNT = ENV.fetch("IOMEMFS")
abort "#{MOUNT}: no iomemfs is mounted there" unless File.exist?("#{MOUNT}/.ctl/create")

module Helper
  LIMIT = 30 # seconds that a condition may take

  # Runs the block without a mount.
  def without_mount
    ENV["IOMEMFS"] = Dir.tmpdir
    yield
  ensure
    ENV["IOMEMFS"] = MOUNT
  end

  def wait_for(what)
    deadline = Process.clock_gettime(Process::CLOCK_MONOTONIC) + LIMIT
    until yield
      flunk "not within #{LIMIT} s: #{what}" if Process.clock_gettime(Process::CLOCK_MONOTONIC) > deadline
      sleep 0.005
    end
  end

  def names
    IO::Memory.list.map { |region| region[:name] }
  end

  # Runs the block in a child, which must end well.
  def in_child(&block)
    pid = fork do
      block.call
      exit!(0)
    rescue Exception => error # rubocop:disable Lint/RescueException
      warn error.full_message
      exit!(1)
    end
    _, status = Process.wait2(pid)
    assert status.success?, "the child failed"
  end

  # Everything that this test made on the mount is gone.
  def teardown
    GC.start
    wait_for("an empty mount, not #{names}") { names.empty? }
  end
end
