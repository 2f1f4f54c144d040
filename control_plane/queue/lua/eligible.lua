-- Whether an organization has work that could start now.
-- KEYS[1] prefix. Answers 1 or 0; 0 while it is not ready.
return ready() and eligible() or 0
