-- One edit of one flag: everything is as expected, then all of it is written; else nothing is.
--
-- KEYS  1 definition, 2 plain switch, 3 versions, 4 head, 5 history, 6 entries by flag
-- ARGV  1 flag
--       2 3 definition as expected: length (-1 for none), text    4 5 plain switch as expected, in the same way
--       6 record of its version as expected, 7 head as expected: empty for none
--       8 record of its version from now on, 9 head from now on
--       10 11 definition from now on: 'set' and its text, or 'del'
--       12 13 plain switch from now on: 'set' and its text, 'del', or 'keep'
--       14 15 channel and message for whoever listens
--       16... number and text of each new entry of the history
--
-- The text of a definition that is longer than a flag may be comes shortened.
local function is(key, length, text)
  local kind = redis.call('TYPE', key).ok
  if length == '-1' then return kind == 'none' end
  return kind == 'string' and redis.call('STRLEN', key) == tonumber(length)
    and (text == '' or redis.call('GETRANGE', key, 0, #text - 1) == text)
end

if not is(KEYS[1], ARGV[2], ARGV[3]) or not is(KEYS[2], ARGV[4], ARGV[5])
  or (redis.call('HGET', KEYS[3], ARGV[1]) or '') ~= ARGV[6]
  or (redis.call('GET', KEYS[4]) or '') ~= ARGV[7] then
  return 0
end

-- What a script has written stays written when a later command is refused: so permissions are asked for first,
-- where the server can tell (7.0), and the command that may be refused for other reasons comes first.
if redis.acl_check_cmd then
  local needed = {
    { 'XADD', KEYS[5], '1-0', 'entry', '' }, { 'ZADD', KEYS[6], '0', '' }, { 'HSET', KEYS[3], '', '' },
    { 'SET', KEYS[4], '' }, { 'SET', KEYS[1], '' }, { 'DEL', KEYS[1] },
  }
  if ARGV[12] ~= 'keep' then
    table.insert(needed, { 'SET', KEYS[2], '' })
    table.insert(needed, { 'DEL', KEYS[2] })
  end
  for _, command in ipairs(needed) do
    if not redis.acl_check_cmd(unpack(command)) then
      return redis.error_reply('NOPERM the user needs ' .. command[1] .. ' on the key ' .. command[2])
    end
  end
end

local function write(key, what, text)
  if what == 'set' then
    redis.call('SET', key, text)
  elseif what == 'del' then
    redis.call('DEL', key)
  end
end

local entries = redis.call('TYPE', KEYS[6]).ok
if entries ~= 'none' and entries ~= 'zset' then
  return redis.error_reply('WRONGTYPE ' .. KEYS[6] .. ' is a ' .. entries)
end
for at = 16, #ARGV, 2 do
  redis.call('XADD', KEYS[5], ARGV[at] .. '-0', 'entry', ARGV[at + 1])
  redis.call('ZADD', KEYS[6], 0, ARGV[1] .. ' ' .. string.format('%020.0f', tonumber(ARGV[at])))
end
redis.call('HSET', KEYS[3], ARGV[1], ARGV[8])
redis.call('SET', KEYS[4], ARGV[9])
write(KEYS[1], ARGV[10], ARGV[11])
write(KEYS[2], ARGV[12], ARGV[13])
-- A user who may not publish can edit all the same: the store itself does not listen there.
redis.pcall('PUBLISH', ARGV[14], ARGV[15])
return 1
