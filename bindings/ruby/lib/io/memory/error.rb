# SPDX-License-Identifier: MIT
# frozen_string_literal: true

module IO::Memory
  # Memory could not be had.  The message is the daemon's where it gave one, and #cause is the
  # SystemCallError.
  class MemoryError < StandardError
    # The errno, for example Errno::ENOSPC::Errno; nil if no system call failed.
    def errno
      cause.errno if cause.is_a?(SystemCallError)
    end
  end
end
