const isLead = (code: number): boolean => code >= 0xd800 && code < 0xdc00
const isTrail = (code: number): boolean => code >= 0xdc00 && code < 0xe000

/** The code unit whose escape stands at `at`, or -1. */
const unitAt = (text: string, at: number): number =>
  text.startsWith("\\u", at) ? Number.parseInt(text.slice(at + 2, at + 6), 16) : -1

/**
 * A valid JSON text with `\ufffd` in place of each escaped surrogate that lacks its other half, which many services refuse as no JSON. Reads
 * the text once.
 */
export const mend = (text: string): string => {
  let mended = ""
  let kept = 0
  let at = text.indexOf("\\")
  while (at !== -1) {
    const unit = unitAt(text, at)
    if (isLead(unit) && isTrail(unitAt(text, at + 6))) at += 12
    else if (isLead(unit) || isTrail(unit)) {
      mended += `${text.slice(kept, at)}\\ufffd`
      at += 6
      kept = at
    } else at += 2
    at = text.indexOf("\\", at)
  }
  return kept === 0 ? text : mended + text.slice(kept)
}
