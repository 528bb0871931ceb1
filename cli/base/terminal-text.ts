/**
 * Text cut to that many columns, with an ellipsis. Everything from the first wide script on (Hangul Jamo, U+1100) counts
 * as two columns, which some of it does not take: a line may end early, but never wraps.
 */
export function cut(text: string, columns: number): string {
  const glyphs = [...text]
  let used = 0
  let fitting = 0
  for (const [index, glyph] of glyphs.entries()) {
    used += (glyph.codePointAt(0) as number) >= 0x1100 ? 2 : 1
    if (used > columns) return `${glyphs.slice(0, fitting).join('')}…`
    if (used < columns) fitting = index + 1
  }
  return text
}

/** As `cut`, but it is the end that stays: of a path, say. One column at least. */
export function cutFront(text: string, columns: number): string {
  const turned = [...text].reverse().join('')
  return [...cut(turned, Math.max(columns, 1))].reverse().join('')
}

/** How long something has lasted, as people read it: "3.2 s", "2 min 5 s", "3 h 20 min", "2 d 4 h". */
export function age(ms: number): string {
  const s = ms / 1000
  // Below the minute with the tenth that shows that time goes on; 59.96 would be rounded to "60.0 s".
  if (s < 59.95) return `${s.toFixed(1)} s`
  const [min, h, d] = [Math.floor(s / 60), Math.floor(s / 3600), Math.floor(s / 86_400)]
  if (min < 60) return `${Math.max(min, 1)} min ${Math.floor(s % 60)} s`
  return h < 24 ? `${h} h ${min % 60} min` : `${d} d ${h % 24} h`
}

/** Whether a standard stream is a terminal that understands escape sequences. Does not open the stream. */
export function isRewritable(isTerminal: boolean): boolean {
  return isTerminal && process.env.TERM !== 'dumb'
}

/** Whether text that is printed is read as UTF-8: what the locale says, the first of these that is set (setlocale(3)). */
export function isUtf8({ LC_ALL, LC_CTYPE, LANG }: NodeJS.ProcessEnv = process.env): boolean {
  return /utf-?8/i.test(LC_ALL || LC_CTYPE || LANG || '')
}
