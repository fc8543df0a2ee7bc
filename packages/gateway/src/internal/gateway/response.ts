import { type IncomingMessage, ServerResponse } from "node:http"
import * as endOfTurn from "../endOfTurn.ts"

type Ending = Parameters<ServerResponse["end"]>

/** A response that is sent at the end of the turn of the event loop in which it was written. */
export class Response<Request extends IncomingMessage = IncomingMessage> extends ServerResponse<Request> {
  /** Node does not keep the headers that an answer began with. */
  isEventStream = false
  private isHeld = false
  private ending: Ending | undefined

  static {
    // The types take it for a field.
    Object.defineProperty(this.prototype, "writableEnded", {
      get(this: Response): boolean {
        // What Node's own says. To ask that by reflection takes twenty times as long.
        return this.ending !== undefined || this.finished
      }
    })
  }

  override write(...args: ReadonlyArray<unknown>): boolean {
    if (!this.isHeld) {
      this.cork()
      this.hold()
    }
    return super.write(...args as Parameters<ServerResponse["write"]>)
  }

  override end(...args: ReadonlyArray<unknown>): this {
    if (this.writableEnded) return super.end(...args as Ending)
    this.ending = args as Ending
    if (!this.isHeld) this.hold()
    return this
  }

  override writeHead(...args: ReadonlyArray<unknown>): this {
    super.writeHead(...args as Parameters<ServerResponse["writeHead"]>)
    // Node puts the head together from some forty texts, and V8 keeps them all until something reads the whole.
    if (this.isEventStream) Number(Reflect.get(this, "_header"))
    return this
  }

  private hold(): void {
    this.isHeld = true
    endOfTurn.send(this)
  }

  /** One that can't be sent is cut off, and keeps no other from being sent. */
  send(): void {
    const { ending } = this
    this.isHeld = false
    this.ending = undefined
    if (ending === undefined) return this.uncork()
    try {
      super.end(...ending)
    } catch {
      this.destroy()
    }
  }
}
