-- SPDX-License-Identifier: Apache-2.0
-- Requests for wrk: wrk ... -s requests.lua URL -- kind=samples folder=DIR run=NAME ...
--
-- kinds: samples  POST of `batch` new samples to `path`, each of `features` integers made of its number;
--                 every acknowledged request's id goes to DIR/<run>-<thread>.ids
--        poll     GET of the polls in DIR/devices.txt ("<path> <token>" a line), one device after the other
--        get      GET of `path`, again and again
-- At the end one line "RESULT {json}": counts by status, times in microseconds.

local number = 0
function setup(thread)
   thread:set("thread_number", number)
   number = number + 1
   threads = threads or {}
   threads[number] = thread
end

function init(args)
   options = {}
   for _, pair in ipairs(args) do
      local name, value = string.match(pair, "^([%w_]+)=(.*)$")
      if name then options[name] = value end
   end
   sent, statuses, retry_after = 0, "", 0
   counts = {}
   if options.kind == "samples" then
      batch, features = tonumber(options.batch), tonumber(options.features)
      ids = io.open(options.folder .. "/" .. options.run .. "-" .. thread_number .. ".ids", "w")
   elseif options.kind == "poll" then
      devices = {}
      local at = 0
      for line in io.lines(options.folder .. "/devices.txt") do
         if at % tonumber(options.threads) == thread_number then devices[#devices + 1] = line end
         at = at + 1
      end
   end
end

-- The digits of a sample's number, the lowest first, are its features: equal numbers, equal samples.
local function row(value)
   local digits = {}
   for i = 1, features do
      digits[i] = value % 10
      value = math.floor(value / 10)
   end
   return '{"features":[' .. table.concat(digits, ",") .. '],"label":"0"}'
end

local requests = {}
function requests.samples()
   local id, rows = (tonumber(options.start) + sent) * 16 + thread_number, {}
   for i = 0, batch - 1 do rows[i + 1] = row(id * batch + i) end
   local body = '{"samples":[' .. table.concat(rows, ",") .. "]}"
   return wrk.format("POST", options.path, {
      ["Authorization"] = "Bearer " .. options.key,
      ["Content-Type"] = "application/json",
      ["Idempotency-Key"] = "load-" .. id,
      ["X-Request-ID"] = tostring(id),
   }, body)
end

function requests.poll()
   local path, token = string.match(devices[sent % #devices + 1], "^(%S+) (%S+)$")
   return wrk.format("GET", path, { ["Authorization"] = "TargetToken " .. token })
end

function requests.get()
   return wrk.format("GET", options.path, { ["Authorization"] = "Bearer " .. options.key })
end

function request()
   local made = requests[options.kind]()
   sent = sent + 1
   return made
end

function response(status, headers, body)
   counts[status] = (counts[status] or 0) + 1
   for name, value in pairs(headers) do
      local lower = string.lower(name)
      if lower == "retry-after" then retry_after = retry_after + 1 end
      if ids and status == 201 and lower == "x-request-id" then ids:write(value, "\n") end
   end
   if ids then ids:flush() end
   -- Threads keep their globals apart; texts can be read at the end.
   local parts = {}
   for code, count in pairs(counts) do parts[#parts + 1] = code .. "=" .. count end
   statuses = table.concat(parts, ",")
end

function done(summary, latency, _)
   local total, sent_all, waits = {}, 0, 0
   for _, thread in ipairs(threads) do
      for code, count in string.gmatch(thread:get("statuses"), "(%d+)=(%d+)") do
         total[code] = (total[code] or 0) + tonumber(count)
      end
      sent_all = sent_all + thread:get("sent")
      waits = waits + thread:get("retry_after")
   end
   local parts = {}
   for code, count in pairs(total) do parts[#parts + 1] = string.format('"%s":%d', code, count) end
   local e = summary.errors
   io.write(string.format(
      'RESULT {"seconds":%.3f,"sent":%d,"retry_after":%d,"p50_us":%d,"p99_us":%d,"max_us":%d,' ..
      '"connect":%d,"read":%d,"write":%d,"timeout":%d,"statuses":{%s}}\n',
      summary.duration / 1e6, sent_all, waits, latency:percentile(50), latency:percentile(99), latency.max,
      e.connect, e.read, e.write, e.timeout, table.concat(parts, ",")))
end
