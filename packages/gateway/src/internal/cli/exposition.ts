/** Metrics as they are read from `/metrics`, and what two readings say of the time between them. */

interface Sample {
  readonly labels: Readonly<Record<string, string>>
  readonly value: number
}

/** Samples by name, at a time in milliseconds. */
export interface Reading {
  readonly at: number
  readonly samples: ReadonlyMap<string, ReadonlyArray<Sample>>
}

const line =
  /^([A-Za-z_:][\w:]*)(?:\{((?:[^"}]|"(?:[^"\\]|\\.)*")*)\})? ([-+]?(?:\d[\d.]*(?:e[-+]?\d+)?|Inf|NaN))(?: |$)/
const label = /(\w+)="((?:[^"\\]|\\.)*)"/g

const unescaped = (text: string): string => text.replace(/\\(.)/g, (_, char: string) => char === "n" ? "\n" : char)

const valueOf = (text: string): number => text === "+Inf" ? Infinity : text === "-Inf" ? -Infinity : Number(text)

/** Reads Prometheus' text. Lines that are none are left out. */
export const parse = (text: string, at: number): Reading => {
  const samples = new Map<string, Array<Sample>>()
  for (const one of text.split("\n")) {
    const [, name, labels = "", value = ""] = line.exec(one) ?? []
    if (name === undefined) continue
    const sample = {
      labels: Object.fromEntries(
        Array.from(labels.matchAll(label), ([, key = "", text = ""]) => [key, unescaped(text)])
      ),
      value: valueOf(value)
    }
    const found = samples.get(name)
    if (found === undefined) samples.set(name, [sample])
    else found.push(sample)
  }
  return { at, samples }
}

type Where = (labels: Sample["labels"]) => boolean

const everywhere: Where = () => true

const of = ({ samples }: Reading, name: string, where: Where): ReadonlyArray<Sample> =>
  (samples.get(name) ?? []).filter(({ labels }) => where(labels))

const keyOf = (labels: Sample["labels"]): string => JSON.stringify(Object.entries(labels).toSorted())

/** What counters grew by between two readings. One that fell began anew. */
const grown = (before: Reading, after: Reading, name: string, where: Where): ReadonlyArray<Sample> => {
  const old = new Map(of(before, name, where).map(({ labels, value }) => [keyOf(labels), value]))
  return of(after, name, where).map(({ labels, value }) => {
    const from = old.get(keyOf(labels)) ?? 0
    return { labels, value: value >= from ? value - from : value }
  })
}

const sumOf = (samples: ReadonlyArray<Sample>): number => samples.reduce((sum, { value }) => sum + value, 0)

/** The time between two readings, and the questions to ask of it. */
export const between = (before: Reading, after: Reading) => {
  const seconds = Math.max(0.001, (after.at - before.at) / 1000)
  return {
    /** The sum of gauges at its end. */
    now: (name: string, where: Where = everywhere): number => sumOf(of(after, name, where)),
    /** The highest of gauges at its end, such as those of several workers; zero without any. */
    highest: (name: string): number =>
      of(after, name, everywhere).reduce((most, { value }) => Math.max(most, value), 0),
    /** How much counters grew a second. */
    rate: (name: string, where: Where = everywhere): number => sumOf(grown(before, after, name, where)) / seconds,
    /** The values of a label. */
    valuesOf: (name: string, key: string): ReadonlyArray<string> => [
      ...new Set(of(after, name, everywhere).flatMap(({ labels }) => labels[key] ?? []))
    ],
    /** A quantile of histograms by their buckets, as Prometheus estimates it; undefined when nothing was observed. */
    quantile: (name: string, quantile: number, where: Where = everywhere): number | undefined => {
      const cumulated = new Map<number, number>()
      for (const { labels, value } of grown(before, after, `${name}_bucket`, where)) {
        const le = valueOf(labels["le"] ?? "+Inf")
        cumulated.set(le, (cumulated.get(le) ?? 0) + value)
      }
      const buckets = [...cumulated].toSorted(([a], [b]) => a - b)
      const total = buckets.at(-1)?.[1] ?? 0
      if (total === 0) return undefined
      const rank = quantile * total
      let [lower, below] = [0, 0]
      for (const [le, count] of buckets) {
        if (count >= rank) return le === Infinity ? lower : lower + (le - lower) * ((rank - below) / (count - below))
        ;[lower, below] = [le, count]
      }
      return lower
    }
  }
}

export type Between = ReturnType<typeof between>
