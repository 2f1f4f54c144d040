# What Sojourn may do on a Nomad cluster at run time, and no more.
#   nomad namespace apply -description "Runs of Sojourn" sojourn
#   nomad acl policy apply -description "Sojourn at run time" sojourn sojourn.policy.hcl
#   nomad acl token create -name sojourn -policy sojourn
# For a namespace of another name, write it here and into NOMAD_NAMESPACE.

namespace "sojourn" {
  capabilities = [
    "list-jobs",    # which jobs there are: what was lost from the event stream is found by listing
    "read-job",     # jobs, evaluations and allocations, and the event stream about them
    "submit-job",   # registers the parameterized job of an environment, version and machine; stops and removes its children
    "dispatch-job", # starts one executor
  ]
}

# Which node an allocation is on, whether it is there still, which drivers it has; the event stream about nodes.
node {
  policy = "read"
}
