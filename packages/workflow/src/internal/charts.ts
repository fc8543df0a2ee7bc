/** Charts as SVG without scripts and styles, of lists of `{ label, value }`. */
import { escaped } from "./xml.ts"

export interface Point {
  readonly label: string
  readonly value: number
}

/** Points of a chart. */
const maxPoints = 200

const isObject = (u: unknown): u is Readonly<Record<string, unknown>> => typeof u === "object" && u !== null

/** The points of a value, or what is wrong with it. */
const pointsOf = (value: unknown): ReadonlyArray<Point> | string => {
  if (!Array.isArray(value)) return "a chart needs a list of { label, value }"
  if (value.length > maxPoints) return `a chart has at most ${maxPoints} points, got ${value.length}`
  const points: Array<Point> = []
  for (const [index, item] of value.entries()) {
    if (!isObject(item) || typeof item["value"] !== "number" || !Number.isFinite(item["value"])) {
      return `a chart needs a list of { label, value }: the value of item ${index} is no number`
    }
    points.push({ label: String(item["label"] ?? ""), value: item["value"] })
  }
  return points
}

const colors = ["#2563eb", "#16a34a", "#d97706", "#dc2626", "#7c3aed", "#0891b2", "#be185d", "#4d7c0f"]
const colorOf = (index: number): string => colors[index % colors.length] ?? "#2563eb"

const size = { width: 640, height: 320 }
const edge = { top: 36, right: 16, bottom: 56, left: 64 }

const round = (n: number): number => Math.round(n * 100) / 100
const shown = (n: number): string => Number(n.toPrecision(6)).toLocaleString("en-US", { maximumFractionDigits: 6 })

const text = (x: number, y: number, content: string, more = ""): string =>
  `<text x="${round(x)}" y="${round(y)}" font-family="system-ui, sans-serif" font-size="12" fill="#374151"${more}>${
    escaped(content)
  }</text>`

const short = (label: string, most: number): string => {
  const chars = Array.from(label)
  return chars.length > most ? `${chars.slice(0, Math.max(1, most - 1)).join("")}…` : label
}

const picture = (title: string, content: ReadonlyArray<string>, height = size.height): string =>
  `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${size.width} ${height}" width="${size.width}" height="${height}" role="img" aria-label="${
    escaped(title)
  }">${title === "" ? "" : text(edge.left, 20, title, " font-weight=\"600\"")}${content.join("")}</svg>`

/** Four or so round steps that hold all values and 0. */
const stepsOf = (points: ReadonlyArray<Point>): ReadonlyArray<number> => {
  const [low, high] = [Math.min(0, ...points.map((it) => it.value)), Math.max(0, ...points.map((it) => it.value))]
  const raw = (high - low || 1) / 4
  const power = 10 ** Math.floor(Math.log10(raw))
  const step = power * ([1, 2, 2.5, 5, 10].find((n) => n * power >= raw) ?? 10)
  const first = Math.floor(low / step)
  const count = Math.max(1, Math.ceil(high / step) - first)
  return Array.from({ length: count + 1 }, (_, index) => (first + index) * step)
}

/** The axes, and where a value and a point are. */
const axesOf = (points: ReadonlyArray<Point>) => {
  const steps = stepsOf(points)
  const [low = 0, high = 1] = [steps[0], steps.at(-1)]
  const [width, height] = [size.width - edge.left - edge.right, size.height - edge.top - edge.bottom]
  const y = (value: number) => edge.top + height * (1 - (value - low) / (high - low))
  const slot = width / Math.max(1, points.length)
  const x = (index: number) => edge.left + slot * (index + 0.5)
  // Labels that would lie over each other are left out.
  const every = Math.ceil(48 / slot)
  const content = [
    ...steps.map((value) =>
      `<path d="M${edge.left} ${round(y(value))} H${size.width - edge.right}" stroke="${
        value === 0 ? "#6b7280" : "#e5e7eb"
      }"/>` + text(edge.left - 8, y(value) + 4, shown(value), " text-anchor=\"end\"")
    ),
    ...points.flatMap(({ label }, index) =>
      index % every === 0
        ? [
          text(
            x(index),
            size.height - edge.bottom + 18,
            short(label, Math.floor(slot * every / 7)),
            " text-anchor=\"middle\""
          )
        ]
        : []
    )
  ]
  return { content, slot, x, y }
}

const tip = ({ label, value }: Point): string => `<title>${escaped(`${label}: ${shown(value)}`)}</title>`

const bar = (points: ReadonlyArray<Point>, title: string): string => {
  const { content, slot, x, y } = axesOf(points)
  const width = round(slot * 0.7)
  const bars = points.map((point, index) => {
    const [top, bottom] = [y(Math.max(0, point.value)), y(Math.min(0, point.value))]
    return `<rect x="${round(x(index) - width / 2)}" y="${round(top)}" width="${width}" height="${
      round(bottom - top)
    }" fill="${colorOf(0)}">${tip(point)}</rect>`
  })
  return picture(title, [...content, ...bars])
}

const line = (points: ReadonlyArray<Point>, title: string): string => {
  const { content, x, y } = axesOf(points)
  const at = points.map((point, index) => `${round(x(index))} ${round(y(point.value))}`)
  const dots = points.map((point, index) =>
    `<circle cx="${round(x(index))}" cy="${round(y(point.value))}" r="3" fill="${colorOf(0)}">${tip(point)}</circle>`
  )
  return picture(title, [
    ...content,
    ...at.length === 0 ? [] : [`<path d="M${at.join(" L")}" fill="none" stroke="${colorOf(0)}" stroke-width="2"/>`],
    ...dots
  ])
}

const pie = (points: ReadonlyArray<Point>, title: string): string => {
  const total = points.reduce((sum, { value }) => sum + Math.max(0, value), 0)
  const [cx, cy, radius] = [180, 180, 120]
  const on = (share: number) => {
    const angle = 2 * Math.PI * share - Math.PI / 2
    return `${round(cx + radius * Math.cos(angle))} ${round(cy + radius * Math.sin(angle))}`
  }
  let before = 0
  const slices = points.map((point, index) => {
    const share = total === 0 ? 0 : Math.max(0, point.value) / total
    const [from, to] = [before, before += share]
    const look = `fill="${colorOf(index)}" stroke="#ffffff"`
    if (share === 0) return ""
    return share > 0.9999
      ? `<circle cx="${cx}" cy="${cy}" r="${radius}" ${look}>${tip(point)}</circle>`
      : `<path d="M${cx} ${cy} L${on(from)} A${radius} ${radius} 0 ${share > 0.5 ? 1 : 0} 1 ${on(to)} Z" ${look}>${
        tip(point)
      }</path>`
  })
  const legend = points.map((point, index) => {
    const y = 64 + index * 20
    const share = total === 0 ? 0 : Math.max(0, point.value) / total
    return `<rect x="350" y="${y - 10}" width="12" height="12" fill="${colorOf(index)}"/>` +
      text(370, y, `${short(point.label, 24)}: ${shown(point.value)} (${(share * 100).toFixed(1)} %)`)
  })
  return picture(title, [...slices, ...legend], Math.max(size.height, 64 + points.length * 20))
}

const kinds = { bar, line, pie }

export type Kind = keyof typeof kinds

/** Draws a chart; throws a `RangeError` where the value is no list of points. */
export const draw = (kind: Kind, value: unknown, title: string): string => {
  const points = pointsOf(value)
  if (typeof points === "string") throw new RangeError(points)
  return kinds[kind](points, title)
}
