# SPDX-License-Identifier: MIT
# frozen_string_literal: true

class IO
  module Memory
    VERSION = "0.1.0"
  end
end
