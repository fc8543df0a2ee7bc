/** Draws calls a second of CPU time by calls at once: what else the machine does changes that least. */
import type { Outcome } from "./report.ts"

const width = 720
const height = 380
const area = { left: 64, right: 560, top: 56, bottom: 330 }
const colours = ["#777", "#3d71d9", "#d9683d"]

/** Round steps of an axis that ends at least there. */
const stepOf = (most: number): number => {
  const power = 10 ** Math.floor(Math.log10(most / 4))
  return power * ([1, 2, 5, 10].find((step) => step * power * 5 >= most) ?? 10)
}

interface Point {
  readonly lanes: number
  readonly rate: number
}

export const plotThroughput = (outcomes: ReadonlyArray<Outcome>, circumstances: string): string => {
  const lines = new Map<string, Array<Point>>()
  for (const { lanes, name, sides } of outcomes) {
    if (name !== "throughput" || lanes === undefined) continue
    for (const side of sides) {
      const points = lines.get(side.name) ?? []
      lines.set(side.name, [...points, { lanes, rate: 1_000_000 / side.cpu }])
    }
  }
  const all = [...lines.values()].flat()
  if (all.length === 0) throw new RangeError("--plot draws the bench throughput: add --only throughput")
  const lanes = [...new Set(all.map(({ lanes }) => lanes))]
  const step = stepOf(Math.max(...all.map(({ rate }) => rate)))
  const most = step * Math.ceil(Math.max(...all.map(({ rate }) => rate)) / step)
  const x = (at: number) => area.left + lanes.indexOf(at) * (area.right - area.left) / Math.max(1, lanes.length - 1)
  const y = (rate: number) => area.bottom - rate / most * (area.bottom - area.top)

  const grid = Array.from({ length: most / step + 1 }, (_, index) => {
    const at = y(index * step).toFixed(1)
    return `<line x1="${area.left}" x2="${area.right}" y1="${at}" y2="${at}" stroke="#ddd"/>` +
      `<text x="${area.left - 8}" y="${at}" dy="4" text-anchor="end">${index * step}</text>`
  })
  const marks = lanes.map((at) => `<text x="${x(at)}" y="${area.bottom + 18}" text-anchor="middle">${at}</text>`)
  const drawn = [...lines].map(([name, points], index) => {
    const colour = colours[index % colours.length]
    const places = points.map(({ lanes, rate }) => `${x(lanes).toFixed(1)},${y(rate).toFixed(1)}`)
    const dots = places.map((place) => {
      const [cx, cy] = place.split(",")
      return `<circle cx="${cx}" cy="${cy}" r="3" fill="${colour}"/>`
    })
    const end = points.at(-1)
    return `<polyline fill="none" stroke="${colour}" stroke-width="2" points="${places.join(" ")}"/>${dots.join("")}` +
      `<text x="${area.right + 12}" y="${y(end?.rate ?? 0).toFixed(1)}" dy="4" fill="${colour}">${name}</text>`
  })
  return `${
    [
      `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" font-family="sans-serif" font-size="12" fill="#333">`,
      "<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>",
      "<text x=\"8\" y=\"20\" font-weight=\"600\">Calls that a second of CPU time serves, by calls at once</text>",
      `<text x="8" y="38" font-size="10">${
        circumstances.split("\n", 1)[0]
      }; one process each, beside its load and its service</text>`,
      ...grid,
      ...marks,
      ...drawn,
      "</svg>"
    ].join("\n")
  }\n`
}
