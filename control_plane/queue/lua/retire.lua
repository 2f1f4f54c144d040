-- An organization had no run that could start. The caller looks again afterwards, so that no announcement is lost.
--
-- KEYS  ring and rest of organizations
-- ARGV  organization
-- Gives 1.
leave(KEYS[1], KEYS[2], ARGV[1])
return 1
