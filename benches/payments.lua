-- One payment a request: a new order and a new idempotency key each, a card that pays. The API key comes from the environment.
local key = os.getenv("BREAKWATER_KEY")
local run = os.getenv("BREAKWATER_RUN") or tostring(os.time())
local threads = 0
local accepted = { created = 0, other = 0 }

function setup(thread)
  thread:set("number", threads)
  threads = threads + 1
end

function init()
  count = 0
end

function request()
  count = count + 1
  local name = run .. "-" .. number .. "-" .. count
  return wrk.format("POST", "/v1/payments", {
    ["Authorization"] = "Bearer " .. key,
    ["Content-Type"] = "application/json",
    ["Idempotency-Key"] = name,
  }, '{"amount":1250,"currency":"CNY","merchant_order_id":"' .. name .. '","payment_method":{"type":"card_token","token":"pm_card_visa"}}')
end

function done(summary, latency)
  local seconds = summary.duration / 1000000
  io.write(string.format("RESULT %d %d %.1f %.2f %.2f %.2f\n", summary.requests, summary.errors.status + summary.errors.timeout,
    summary.requests / seconds, latency:percentile(50) / 1000, latency:percentile(95) / 1000, latency:percentile(99) / 1000))
end
