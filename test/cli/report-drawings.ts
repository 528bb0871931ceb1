import type { Drawing } from '../../cli/stress/page/plot.ts'

/** What a page draws, as its script finds it. */
export function drawingsOf(page: string): Drawing[] {
  const found = /<script type="application\/json" id="drawings">(.*?)<\/script>/s.exec(page)
  return JSON.parse(found?.[1] ?? '') as Drawing[]
}

/** Those of one kind, in the order of the page: with pslock first, then the control. */
export function drawn<Kind extends Drawing['kind']>(
  page: string,
  kind: Kind,
): Extract<Drawing, { kind: Kind }>[] {
  return drawingsOf(page).filter((drawing) => drawing.kind === kind) as Extract<Drawing, { kind: Kind }>[]
}
