/** Joins many pieces of text into one, in linear time and with little beside the text, however small the pieces are. */
export class Pieces {
  /** The characters so far. */
  length = 0
  private joined: Array<string> = []
  private pieces: Array<string> = []

  push(piece: string): void {
    this.length += piece.length
    this.pieces.push(piece)
    if (this.pieces.length < 1024) return
    this.joined.push(this.pieces.join(""))
    this.pieces = []
  }

  /** The text so far, joined. The list of pieces becomes empty. */
  take(): string {
    if (this.length === 0) return ""
    const { joined, pieces } = this
    const last = pieces.length === 1 ? pieces[0] ?? "" : pieces.join("")
    const text = joined.length === 0 ? last : joined.join("") + last
    this.length = 0
    if (joined.length > 0) this.joined = []
    this.pieces = []
    return text
  }
}
