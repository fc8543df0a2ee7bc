/** Tables for people: columns as wide as their content, and colours on a terminal. */
import { stripVTControlCharacters } from "node:util"

export type Colour = "red" | "yellow" | "dim"

const codes: { readonly [C in Colour]: readonly [number, number] } = { red: [31, 39], yellow: [33, 39], dim: [2, 22] }

/** Colours a text, where `on`. */
export const painter = (on: boolean) => (colour: Colour, text: string): string =>
  on ? `\x1b[${codes[colour][0]}m${text}\x1b[${codes[colour][1]}m` : text

/** What came from outside can not move the cursor, and what turns the direction of a text is named. */
export const plain = (text: string): string =>
  // oxlint-disable-next-line no-control-regex -- control characters are what it takes out
  stripVTControlCharacters(text).replace(/[\u0000-\u001f\u007f-\u009f]/g, " ")
    .replace(/[\u202a-\u202e\u2066-\u2069]/g, (char) => `[U+${char.charCodeAt(0).toString(16).toUpperCase()}]`)

const widthOf = (text: string): number => stripVTControlCharacters(text).length

/** Rows with aligned columns and a line end each; a cell that is a number stands at the right. */
export const table = (
  head: ReadonlyArray<string>,
  rows: ReadonlyArray<ReadonlyArray<string | number>>
): string => {
  const widths = head.map((name, index) =>
    Math.max(name.length, ...rows.map((row) => widthOf(String(row[index] ?? ""))))
  )
  const isNumber = head.map((_, index) => rows.length > 0 && rows.every((row) => typeof row[index] === "number"))
  const line = (cells: ReadonlyArray<string | number>) =>
    cells.map((cell, index) => {
      const text = String(cell)
      const pad = " ".repeat((widths[index] ?? 0) - widthOf(text))
      return isNumber[index] === true ? pad + text : text + pad
    }).join("  ").trimEnd()
  return [head.map((name) => name.toUpperCase()), ...rows].map((row) => `${line(row)}\n`).join("")
}
