/**
 * DeepSeek's prices per million tokens: the full price of the peak hours; all other hours cost half.
 *
 * @see {@link https://api-docs.deepseek.com/quick_start/pricing}
 */

/** What the page says, by model and currency: cache hit, cache miss, output. */
const page = [
  ["deepseek-flash", "CNY", "0.04", "2", "8"],
  ["deepseek-flash", "USD", "0.006", "0.3", "1.2"],
  ["deepseek-v4-pro", "CNY", "0.3", "9", "27"],
  ["deepseek-v4-pro", "USD", "0.044", "1.32", "3.96"]
] as const

/** Names that the service takes for another model, at its price. */
const aliases = { "deepseek-flash": ["deepseek-v4-flash", "deepseek-v4-flash-vision-exp"], "deepseek-v4-pro": [] }

export const deepSeek = page.flatMap(([model, currency, hit, miss, output]) =>
  [model, ...aliases[model]].map((model) => ({
    provider: "deepseek",
    model,
    currency,
    from: "2026-09-10T04:00:00Z",
    hit,
    miss,
    output,
    peakHours: "deepseek",
    offPeak: "0.5"
  }))
)
