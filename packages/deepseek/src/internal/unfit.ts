import * as ChatError from "@ballast/chat/ChatError"

/** What the service would surely refuse, and so is not sent. The text is ours, and begins with the field. */
export const unfit = (detail: string): ChatError.ClientError => {
  const path = /^`([\w.]{1,64})`/.exec(detail)?.[1]
  return new ChatError.ClientError({
    reason: new ChatError.InvalidRequest({
      status: 400,
      detail,
      stated: true,
      ...(path === undefined ? undefined : { path })
    })
  })
}

/** Characters as the service counts them: code points. Linear in `most`, whatever the text's length. */
export const isLonger = (text: string, most: number): boolean => {
  if (text.length <= most) return false
  let count = 0
  for (const _ of text) if (++count > most) return true
  return false
}
