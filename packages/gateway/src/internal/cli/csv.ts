/** Comma-separated values as RFC 4180 has them, with line feeds alone. */

/** A text that a spreadsheet would take for a formula gets an apostrophe in front; clients choose some of them. */
const cellOf = (value: string | number): string => {
  if (typeof value === "number") return String(value)
  const text = /^[=+@\t\r]|^-(?![\d.]+$)/.test(value) ? `'${value}` : value
  return /[",\r\n]/.test(text) ? `"${text.replaceAll("\"", "\"\"")}"` : text
}

export const csv = (rows: ReadonlyArray<ReadonlyArray<string | number>>): string =>
  rows.map((row) => `${row.map(cellOf).join(",")}\n`).join("")
