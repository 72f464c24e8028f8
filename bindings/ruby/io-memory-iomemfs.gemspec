# SPDX-License-Identifier: MIT
# frozen_string_literal: true

require_relative "lib/io/memory/version"

Gem::Specification.new do |spec|
  spec.name = "io-memory-iomemfs"
  spec.version = IO::Memory::VERSION
  spec.summary = "IO::Memory: shared memory as IO and IO::Buffer, on iomemfs or a memfd"
  spec.description = <<~TEXT
    Memory that processes share, of an iomemfs mount where there is one: with names, limits, events,
    and a lifetime that ends with its last user.  Without a mount, memory of memfd_create(2).
  TEXT
  spec.authors = ["The iomemfs authors"]
  spec.license = "MIT"
  spec.required_ruby_version = ">= 3.1"
  spec.files = Dir["lib/**/*.rb", "examples/*.rb", "README.md"]
end
