# SPDX-License-Identifier: MIT
# frozen_string_literal: true

class IO
  module Memory
    VERSION = "0.2.0"
  end
end
