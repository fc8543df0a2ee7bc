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

let writes: Array<() => void> = []
let answers: Array<Answer> = []
let isSet = false

const run = (): void => {
  isSet = false
  const [first, then] = [writes, answers]
  writes = []
  answers = []
  for (const write of first) write()
  for (const answer of then) answer.send()
}

const set = (): void => {
  if (isSet) return
  isSet = true
  setImmediate(run)
}

/** Writes something at the end of this turn, before its answers are sent. */
export const beforeAnswers = (write: () => void): void => {
  writes.push(write)
  set()
}

/** Sends an answer at the end of this turn, or of what runs now where many wait. */
export const send = (answer: Answer): void => {
  if (answers.push(answer) === most) queueMicrotask(run)
  else set()
}
