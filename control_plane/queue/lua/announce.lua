-- An organization has a run that could start.
--
-- KEYS  ring and rest of organizations
-- ARGV  organization
-- Gives 1. Invariant: announcing twice changes nothing.
enter(KEYS[1], KEYS[2], ARGV[1])
return 1
