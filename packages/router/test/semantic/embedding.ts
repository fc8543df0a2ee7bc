/**
 * An embedding for tests: hashed words and pairs of characters, and a few words that mean the same. It finds shared words, and like real ones
 * it does not tell a sentence from its negation.
 */
const dimensions = 256

/** Words of one line count as the first. */
const concepts = `
how 怎么 如何
refund 退款
password 密码
meaning mean
tell say
can able possible
`.trim().split("\n").map((line) => line.split(" "))

const conceptOf = new Map(concepts.flatMap((words) => words.map((word) => [word, words[0] ?? word] as const)))

/** Words that say little weigh little, as they do in a trained model. */
const light = new Set(
  "a an the please is are do does did i me my it this that to of in not no can what am n't isn't can't never without with 的 了 吗 呢 请 我 是 不 没 未"
    .split(" ")
)

const hash = (text: string, seed: number): number => {
  let value = 2166136261 ^ seed
  for (let at = 0; at < text.length; at++) value = Math.imul(value ^ text.charCodeAt(at), 16777619)
  value = Math.imul(value ^ (value >>> 15), 2246822507)
  return (value ^ (value >>> 13)) >>> 0
}

export const embed = (text: string): ReadonlyArray<number> => {
  const sums = Array.from({ length: dimensions }, () => 0)
  const plain = text.normalize("NFKC").toLowerCase()
  for (const found of plain.match(/怎么|如何|退款|密码|\p{Script=Han}|(?:(?!\p{Script=Han})[\p{L}\p{N}'])+/gu) ?? []) {
    const word = conceptOf.get(found) ?? found
    const grams = /^[a-z']{5,}$/.test(word)
      ? Array.from({ length: word.length - 2 }, (_, at) => word.slice(at, at + 3))
      : []
    for (const gram of [word, word, ...grams]) {
      const weight = (light.has(word) ? 0.2 : 1) / (2 + grams.length)
      for (let seed = 0; seed < 8; seed++) {
        const at = hash(gram, seed)
        sums[at % dimensions] = (sums[at % dimensions] ?? 0) + (at & 1024 ? weight : -weight)
      }
    }
  }
  return sums
}
