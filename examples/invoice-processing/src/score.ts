/** How many fields were read as they had been drawn. */
import { type Field, fields, type Invoice } from "./Invoice.ts"
import type { Sample } from "./samples.ts"

export interface Score {
  readonly right: number
  readonly of: number
  readonly wrong: ReadonlyArray<{ readonly field: Field; readonly drawn: string | number; readonly read: unknown }>
}

/** Compares exactly: a lost space is a mistake. A run that failed has read nothing. */
export const score = ({ invoice: drawn }: Sample, read: Partial<Invoice> | undefined): Score => {
  const wrong = fields.filter((field) => read?.[field] !== drawn[field])
    .map((field) => ({ field, drawn: drawn[field], read: read?.[field] ?? null }))
  return { right: fields.length - wrong.length, of: fields.length, wrong }
}

/** In one line, with what is wrong. */
export const line = ({ name }: Sample, { of, right, wrong }: Score): string =>
  [
    `${name.padEnd(16)}${right} of ${of}`,
    ...wrong.map(({ drawn, field, read }) => `${field} ${JSON.stringify(read)}, drawn ${JSON.stringify(drawn)}`)
  ].join("; ")

/** All of them together, in one line. */
export const total = (scores: ReadonlyArray<Score>): string => {
  const right = scores.reduce((sum, score) => sum + score.right, 0)
  const all = scores.reduce((sum, score) => sum + score.of, 0)
  return `Read right: ${right} of ${all} fields (${(100 * right / all).toFixed(1)} %).`
}
