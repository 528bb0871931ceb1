import { markdown, writeMarked } from '../lab/marked.ts'
import { footnotes, sections, summary } from './report.ts'
import type { Run } from './run.ts'

/** Writes the tables of a run into the pages, between their markers: nobody types a figure. */
export function write(run: Run): void {
  const notes = `(${footnotes(run).join(' ')})`
  const tables = sections(run).map(({ title, rows }) => `### ${title}\n\n${markdown(rows)}`)
  writeMarked('docs/performance.md', 'speed', [...tables, notes].join('\n\n'))
  writeMarked('README.md', 'speed', `${markdown(summary(run))}\n\n${notes}`)
}
