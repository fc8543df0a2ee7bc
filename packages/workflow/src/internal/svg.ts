/**
 * Draws steps in layers: a step stands below all that it waits for. An arrow that passes layers has a place of its own in each of them, so that
 * it does not run through a box. All is attributes, without styles or scripts: a page may show it under any policy.
 */
import type { Planned } from "../Definition.ts"
import { escaped } from "./xml.ts"

export interface State {
  readonly status: "waiting" | "running" | "done" | "failed" | "skipped" | "cancelled"
  readonly millis?: number | undefined
}

export type States = Readonly<Record<string, State>>

/** What is drawn at a place. */
interface Box {
  readonly width: number
  readonly height: number
  /** How far from its left arrows meet it, and how far from its top they leave it. */
  readonly center: number
  readonly foot: number
  readonly draw: (x: number, y: number) => string
}

const gap = { x: 28, y: 40 }
const padding = 14
const lineHeight = 16

const cut = (text: string, most: number): string => {
  const chars = Array.from(text.replace(/\s+/g, " "))
  return chars.length > most ? `${chars.slice(0, most - 1).join("")}…` : chars.join("")
}

/** About as wide as a text is at 12 pixels; letters of the east are twice as wide. */
const widthOf = (text: string): number =>
  Array.from(text).reduce((sum, char) => sum + ((char.codePointAt(0) ?? 0) > 0x2e80 ? 13 : 7), 0)

const colors: Readonly<Record<State["status"] | "none", readonly [fill: string, stroke: string]>> = {
  none: ["#f4f6fa", "#64748b"],
  waiting: ["#fff7e0", "#b45309"],
  running: ["#e0efff", "#1d4ed8"],
  done: ["#e5f6e8", "#15803d"],
  failed: ["#fde8e8", "#b91c1c"],
  skipped: ["#f1f1f1", "#9ca3af"],
  cancelled: ["#f1f1f1", "#4b5563"]
}

const timeOf = (millis: number): string =>
  millis < 1000 ?
    `${Math.round(millis)} ms` :
    millis < 60_000 ?
    `${(millis / 1000).toFixed(1)} s` :
    `${Math.floor(millis / 60_000)} min ${Math.floor(millis / 1000) % 60} s`

const stateText = (state: State | undefined): string =>
  state === undefined ? "" : `${state.status}${state.millis === undefined ? "" : `, ${timeOf(state.millis)}`}`

const text = (x: number, y: number, content: string, more = ""): string =>
  `<text x="${x}" y="${y}" font-family="system-ui, sans-serif" font-size="12" fill="#1f2937"${more}>${
    escaped(content)
  }</text>`

const rect = (x: number, y: number, width: number, height: number, more: string): string =>
  `<rect x="${x}" y="${y}" width="${width}" height="${height}" rx="6" ${more}/>`

/** A picture of a step with its id, so that a page can find it. */
const group = (id: string, state: State | undefined, title: string, content: string): string =>
  `<g data-step="${escaped(id)}" data-status="${state?.status ?? "none"}"><title>${
    escaped(title)
  }</title>${content}</g>`

const leaf = ({ id, step }: Planned, state: State | undefined): Box => {
  const { condition, fallback, forEach, service = "" } = step
  const lines = [
    ...condition === undefined ? [] : [`if ${cut(condition, 38)}`],
    ...service === id ? [] : [cut(service, 40)],
    ...forEach === undefined ? [] : [`for each of ${cut(forEach.in, 30)}`],
    ...fallback === undefined ? [] : [`else ${cut(fallback, 36)}`],
    ...state === undefined ? [] : [stateText(state)]
  ]
  const width = Math.max(120, ...[cut(id, 40), ...lines].map((line) => widthOf(line) + 2 * padding))
  const height = (lines.length + 1) * lineHeight + padding
  const [fill, stroke] = colors[state?.status ?? "none"]
  const look = `fill="${fill}" stroke="${stroke}"${state?.status === "skipped" ? " stroke-dasharray=\"4 3\"" : ""}`
  const title = [id, service, condition ?? "", forEach?.in ?? ""].filter((part) => part !== "").join("\n")
  const draw = (x: number, y: number) =>
    group(
      id,
      state,
      title,
      [
        ...forEach === undefined ? [] : [rect(x + 4, y - 4, width, height, look)],
        rect(x, y, width, height, look),
        text(x + padding, y + 19, cut(id, 40), " font-weight=\"600\""),
        ...lines.map((line, index) => text(x + padding, y + 19 + (index + 1) * lineHeight, line))
      ].join("")
    )
  return { width, height, center: width / 2, foot: height, draw }
}

/** A box with a title around others. */
const frame = (inner: Box, title: string, look: string): Box => {
  const width = Math.max(inner.width, widthOf(title)) + 2 * padding
  const height = inner.height + 2 * padding + lineHeight
  const draw = (x: number, y: number) =>
    rect(x, y, width, height, look) +
    text(x + padding, y + 19, title, " font-weight=\"600\"") +
    inner.draw(x + padding, y + padding + lineHeight)
  return { width, height, center: inner.center + padding, foot: height, draw }
}

const head = " marker-end=\"url(#arrow)\""

const boxOf = (planned: Planned, states: States): Box => {
  const { id, onError, parallel, step: { condition } } = planned
  const state = states[id]
  const inner = parallel.length === 0 ? undefined : layered(parallel, states)
  const title = [cut(id, 40), ...condition === undefined ? [] : [`if ${cut(condition, 38)}`], stateText(state)]
  const framed = inner &&
    frame(
      inner,
      title.filter((part) => part !== "").join(", "),
      `fill="none" stroke="${colors[state?.status ?? "none"][1]}"`
    )
  const own: Box = framed === undefined
    ? leaf(planned, state)
    : { ...framed, draw: (x, y) => group(id, state, id, framed.draw(x, y)) }
  if (onError.length === 0) return own
  const aside = frame(layered(onError, states), "on error", "fill=\"none\" stroke=\"#b91c1c\" stroke-dasharray=\"4 3\"")
  const left = own.width + gap.x
  return {
    width: left + aside.width,
    height: Math.max(own.height, aside.height),
    center: own.center,
    foot: own.foot,
    draw: (x, y) =>
      `<path d="M${x + own.width} ${y + 20} H${
        x + left
      }" fill="none" stroke="#b91c1c" stroke-dasharray="4 3"${head}/>` +
      own.draw(x, y) + aside.draw(x + left, y)
  }
}

/** A place in a layer: a step, or an arrow that passes. */
interface Place {
  readonly box: Box
  /** The places of the layer above that its arrows come from. */
  readonly from: ReadonlyArray<Place>
  readonly passes: boolean
  x: number
  y: number
  /** Where its row ends. */
  bottom: number
}

const passing: Box = { width: 8, height: 0, center: 4, foot: 0, draw: () => "" }

/** The layer of each step: one below the lowest that it needs. Steps come after those that they need. */
const layersOf = (steps: ReadonlyArray<Planned>): ReadonlyMap<string, number> => {
  const byId = new Map(steps.map((planned) => [planned.id, planned]))
  const layers = new Map<string, number>()
  const visit = (planned: Planned): number => {
    const known = layers.get(planned.id)
    if (known !== undefined) return known
    const above = planned.needs.flatMap((id) => byId.get(id) ?? []).map(visit)
    const layer = above.length === 0 ? 0 : Math.max(...above) + 1
    layers.set(planned.id, layer)
    return layer
  }
  steps.forEach(visit)
  return layers
}

const placesOf = (steps: ReadonlyArray<Planned>, states: States): ReadonlyArray<ReadonlyArray<Place>> => {
  const layers = layersOf(steps)
  const rows: Array<Array<Place>> = []
  const placed = new Map<string, Place>()
  const add = (layer: number, place: Pick<Place, "box" | "from" | "passes">): Place => {
    const made: Place = { ...place, x: 0, y: 0, bottom: 0 }
    const row = rows[layer] ??= []
    row.push(made)
    return made
  }
  const inOrder = steps.toSorted((a, b) => (layers.get(a.id) ?? 0) - (layers.get(b.id) ?? 0))
  for (const planned of inOrder) {
    const layer = layers.get(planned.id) ?? 0
    const from = planned.needs.flatMap((id) => {
      let above = placed.get(id)
      if (above === undefined) return []
      for (let pass = (layers.get(id) ?? 0) + 1; pass < layer; pass++) {
        above = add(pass, { box: passing, from: [above], passes: true })
      }
      return [above]
    })
    placed.set(planned.id, add(layer, { box: boxOf(planned, states), from, passes: false }))
  }
  return rows
}

const centerOf = ({ box, x }: Place): number => x + box.center

/** Gives each place of a row its own: under the middle of those that it comes from, as far as the order of the row allows. */
const setRow = (row: ReadonlyArray<Place>, left: number, top: number): void => {
  const wish = ({ from }: Place) => from.reduce((sum, above) => sum + centerOf(above), 0) / from.length
  const bottom = top + Math.max(...row.map(({ box }) => box.height))
  let x = left
  for (const place of row.toSorted((a, b) => wish(a) - wish(b) || 0)) {
    Object.assign(place, { x, y: top, bottom })
    x += place.box.width + gap.x
  }
}

/** Down to the end of its row, then in a curve to the next. */
const arrow = (from: Place, to: Place, left: number, top: number): string => {
  const [x1, x2] = [left + centerOf(from), left + centerOf(to)]
  const [y1, y2] = [top + from.bottom, top + to.y - (to.passes ? 0 : 2)]
  const middle = (y1 + y2) / 2
  return `<path d="M${x1} ${
    top + from.y + from.box.foot
  } V${y1} C${x1} ${middle} ${x2} ${middle} ${x2} ${y2}" fill="none" stroke="#64748b"${to.passes ? "" : head}/>`
}

const layered = (steps: ReadonlyArray<Planned>, states: States): Box => {
  const rows = placesOf(steps, states)
  const widths = rows.map((row) => row.reduce((sum, { box }) => sum + box.width + gap.x, -gap.x))
  const width = Math.max(...widths)
  let height = -gap.y
  rows.forEach((row, index) => {
    setRow(row, (width - (widths[index] ?? 0)) / 2, height + gap.y)
    height = Math.max(...row.map(({ bottom }) => bottom))
  })
  const all = rows.flat()
  const [first, ...others] = rows[0] ?? []
  return {
    width,
    height,
    center: first !== undefined && others.length === 0 ? centerOf(first) : width / 2,
    foot: height,
    draw: (left, top) =>
      [
        ...all.flatMap((place) => place.from.map((above) => arrow(above, place, left, top))),
        ...all.map(({ box, x, y }) => box.draw(left + x, top + y))
      ].join("\n")
  }
}

export const draw = (name: string, steps: ReadonlyArray<Planned>, atEnd: ReadonlyArray<Planned>, states: States) => {
  const main = layered(steps, states)
  const last = atEnd.length === 0
    ? undefined
    : frame(layered(atEnd, states), "finally", "fill=\"none\" stroke=\"#64748b\" stroke-dasharray=\"4 3\"")
  const width = Math.max(main.width, last?.width ?? 0) + 2 * padding
  const height = main.height + (last === undefined ? 0 : last.height + gap.y) + 2 * padding
  const left = (box: Box) => (width - box.width) / 2
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" role="img" aria-label="${
      escaped(`The workflow ${name}`)
    }">`,
    `<defs><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto"><path d="M0 0 L8 4 L0 8 z" fill="#64748b"/></marker></defs>`,
    main.draw(left(main), padding),
    ...last === undefined ? [] : [last.draw(left(last), padding + main.height + gap.y)],
    "</svg>"
  ].join("\n") + "\n"
}
