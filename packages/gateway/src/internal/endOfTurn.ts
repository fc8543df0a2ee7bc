/**
 * What is done together for all calls of a turn of the event loop, at its end: their rows go to disk, then their answers to the clients. A write
 * is a call of the system and may wake whoever waits for it; of several in a row only the first pays for that.
 */

/** An answer, or a part of one. */
interface Answer {
  readonly send: () => void
}

/** Answers that wait for each other at most. */
const most = 64

let rows: Array<() => void> = []
let answers: Array<Answer> = []
let isSet = false

const run = (): void => {
  isSet = false
  const [writes, ready] = [rows, answers]
  rows = []
  answers = []
  for (const write of writes) write()
  for (const answer of ready) answer.send()
}

const set = (): void => {
  if (isSet) return
  isSet = true
  setImmediate(run)
}

/** Writes rows before the answers of this turn are sent. */
export const rowsOf = (write: () => void): void => {
  rows.push(write)
  set()
}

/** Sends an answer at the end of this turn. */
export const answer = (answer: Answer): void => {
  if (answers.push(answer) === most) run()
  else set()
}
