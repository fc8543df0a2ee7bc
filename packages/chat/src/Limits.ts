/**
 * How much of an answer is read, held or waited for, so that no service can exhaust memory or time.
 *
 * @since 0.1.0
 */

const KiB = 1024
const MiB = 1024 * KiB

/**
 * The limits of reading answers. They are far above what services send.
 *
 * **Details**
 *
 * | limit | value | past it |
 * |---|---|---|
 * | `event` | 16 Mi characters of one event of a stream | the stream fails with `MalformedBody` |
 * | `wholeAnswer` | 64 MiB of an answer that is not streamed | the call fails with `MalformedBody` |
 * | `freeAnswer`, `answerMemory` | a 16th of the heap limit for all answers that are read at once, where they are larger than 64 KiB: whole answers and unfinished events | a whole answer waits for others to end, no longer than its deadline; a stream fails with `MalformedBody` |
 * | `errorBody`, `errorWait` | 64 KiB of the body of an answer that is an error, and 5 seconds for them | the rest is not read |
 * | `heldChunks`, `heldCharacters` | 1,000 opening chunks without progress, 1 Mi characters | they are given on without waiting for the first token |
 * | `otherEvents`, `otherCharacters` | 10,000 events that are no chunks, 16 Mi characters | the stream fails with `MalformedBody` |
 * | `choices` | 128 choices of an answer | the call fails with `MalformedBody` |
 * | `toolCalls` | 1,024 tool calls of one message | the call fails with `MalformedBody` |
 * | `afterEnd`, `afterEndBytes` | 750 milliseconds and 1 MiB after all choices have a `finish_reason` | the stream ends, and the connection is closed |
 *
 * @category constants
 * @since 0.1.0
 */
export const limits = {
  event: 16 * MiB,
  wholeAnswer: 64 * MiB,
  freeAnswer: 64 * KiB,
  /** Part of the heap limit. An answer takes three times its bytes at most: as bytes, with as much room for more, and as text; then as text and as values. */
  answerMemory: 1 / 16,
  errorBody: 64 * KiB,
  errorWait: "5 seconds",
  heldChunks: 1000,
  heldCharacters: MiB,
  otherEvents: 10_000,
  otherCharacters: 16 * MiB,
  choices: 128,
  toolCalls: 1024,
  afterEnd: "750 millis",
  afterEndBytes: MiB
} as const
