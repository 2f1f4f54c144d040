-- An executor is idle no longer.
--
-- KEYS  the organization's prefix
-- ARGV  executor
-- Gives 1. Needs no ready organization. Invariant: no run is handed to the executor after this.
unpark(ARGV[1])
return 1
