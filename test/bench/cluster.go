package main

// clusterServers is how many servers share the streams in the scenario of a cluster.
const clusterServers = 3

// clusterScenario measures the fastest rate with three copies of everything. What the
// servers use is their sum; here they share one machine, and its disk.
func (b *run) clusterScenario() error {
	publish, _, err := b.rawOn(clusterServers, b.size)
	if err != nil {
		return err
	}
	publish.Scenario = "three servers, raw publish " + sizeName(b.size)
	b.add(publish)
	r, err := b.newRigOn(clusterServers, "cluster", b.size, b.calm(b.delay))
	if err != nil {
		return err
	}
	defer r.close()
	_, err = b.fastest(r, "three servers, fastest", publish.Result/3)
	return err
}
