/**
 * pslock beside what people would use instead, all in one run, in rounds, one after the other in each: absolute times mean
 * nothing on a shared machine.
 */
import { cpSync, rmSync } from 'node:fs'
import { dirname } from 'node:path'
import { duration, figure, table } from '../cli/table.ts'
import { Lab, rotated, say } from './lab/lab.ts'
import { median } from './lab/statistics.ts'
import { type Cell, measure, type Result } from './speed/cell.ts'
import { Crew } from './speed/crew.ts'
import { PEERS } from './speed/peers.ts'

const lab = new Lab()
const processes = Number(process.argv[2] ?? 50)
const workload = (process.argv[3] ?? 'insert') as Cell['workload']
const cells: Cell[] = (['locked-nedb', 'sqlite'] as const).map((peer) => ({
  workload,
  peer,
  processes,
  records: 1000,
}))
const crew = new Crew(processes, 1)
const results = new Map<Cell, Result[]>(cells.map((cell) => [cell, []]))
for (const cell of cells) {
  await crew.all('load', cell.peer)
  await crew.first.call('prepare', cell.peer, lab.path(`template-${cell.peer}`), cell.records)
}
for (let round = 0; round < 5; round++) {
  for (const cell of rotated(cells, round)) {
    const path = lab.path(cell.peer)
    cpSync(dirname(lab.path(`template-${cell.peer}`)), dirname(path), { recursive: true })
    const result = await measure(crew, cell, path, { warmUpMs: 300, forMs: 1000 })
    say(`round ${round + 1}: ${cell.peer} ${figure(result.perSecond)}`)
    results.get(cell)!.push(result)
    rmSync(dirname(path), { recursive: true })
  }
}
await crew.end('disconnect')
const rows = [...results].map(([{ peer }, each]) => [
  PEERS[peer].title,
  figure(median(each.map(({ perSecond }) => perSecond))),
  duration(median(each.map(({ p99Ms }) => p99Ms))),
  duration(median(each.map(({ longestMs }) => longestMs))),
  figure(median(each.map(({ fairnessAtHalf }) => fairnessAtHalf))),
  figure(median(each.map(({ fairness }) => fairness))),
  figure(median(each.map(({ cpuUs }) => cpuUs))),
])
console.log(table([['', 'ops/s', 'p99', 'longest', 'fairness at half', 'fairness', 'CPU us/op'], ...rows]))
